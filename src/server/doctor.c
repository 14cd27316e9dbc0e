/* SPDX-License-Identifier: Apache-2.0 */
#include "server/doctor.h"
#include "oci/oci.h"
#include "sandbox/probe.h"
#include "server/paths.h"
#include "json/write.h"
#include <stdio.h>

struct tool {
    const char *name, *key, *path, *missing;
};
static const struct tool tools[] = {
    {"Python", "python", "/usr/lib/python3.11/os.py",
     "Python's library is not there: apt-get install libpython3.11-stdlib"},
    {"Node.js", "node", "/usr/bin/node", "there is no /usr/bin/node: apt-get install nodejs"},
};

/* What functions of code can do without. */
struct extra {
    const char *name, *key;
    bool ok;
    char text[OCI_WHY_MAX];
};
enum { IMAGES, PUSH, PAGES, EXTRAS };

static void look(struct extra out[EXTRAS]) {
    struct extra *e = &out[IMAGES];
    *e = (struct extra){"OCI images", "images", false, "crun, skopeo and umoci are there"};
    char why[OCI_WHY_MAX];
    e->ok = oci_available(why);
    if (!e->ok)
        memcpy(e->text, why, sizeof why);
    e = &out[PUSH];
    *e = (struct extra){"pushing what was built", "push", oci_installed("skopeo"),
                        "skopeo is there"};
    if (!e->ok)
        (void)snprintf(e->text, sizeof e->text, "it needs skopeo (apt install skopeo)");
    cleanup_free char *web = paths_web();
    cleanup_free char *file = x_asprintf("%s/swagger-ui/swagger-ui-bundle.js", web ? web : "");
    e = &out[PAGES];
    *e = (struct extra){"pages at /docs", "docs", access(file, R_OK) == 0, "Swagger UI is there"};
    if (!e->ok)
        (void)snprintf(e->text, sizeof e->text,
                       "Swagger UI is not there: tools/setup.sh run fetches it from npm");
}

static bool there(const struct tool *t) {
    return access(t->path, R_OK) == 0;
}

static void print_text(const struct sandbox_probe *p) {
    printf("%-34s  %-7s  %s\n", "WHAT", "STATE", "DETAIL");
    for (int i = 0; i < PROBE_COUNT; i++) {
        const struct probe_item *it = &p->items[i];
        printf("%-34s  %-7s  %s\n", it->name,
               it->ok         ? "ok"
               : it->required ? "MISSING"
                              : "reduced",
               it->text);
    }
    for (size_t i = 0; i < ARRAY_LEN(tools); i++)
        printf("%-34s  %-7s  %s\n", tools[i].name, there(&tools[i]) ? "ok" : "MISSING",
               there(&tools[i]) ? tools[i].path : tools[i].missing);
    struct extra extras[EXTRAS];
    look(extras);
    for (size_t i = 0; i < EXTRAS; i++)
        printf("%-34s  %-7s  %s\n", extras[i].name, extras[i].ok ? "ok" : "reduced",
               extras[i].text);
    printf("\n%s\n", p->ok ? "Functions can run here."
                           : "Functions cannot run here until what is MISSING is put right.");
}

static void print_json(const struct sandbox_probe *p) {
    cleanup_buf struct buf out = BUF_INIT(64 * KIB);
    struct json_w w;
    json_w_init(&w, &out);
    jw_begin_object(&w);
    jw_bool_member(&w, "ok", p->ok);
    jw_bool_member(&w, "root", p->root);
    jw_object_member(&w, "items");
    for (int i = 0; i < PROBE_COUNT; i++) {
        jw_object_member(&w, p->items[i].key);
        jw_bool_member(&w, "ok", p->items[i].ok);
        jw_bool_member(&w, "required", p->items[i].required);
        jw_cstr_member(&w, "text", p->items[i].text);
        jw_end_object(&w);
    }
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        jw_object_member(&w, tools[i].key);
        jw_bool_member(&w, "ok", there(&tools[i]));
        jw_end_object(&w);
    }
    struct extra extras[EXTRAS];
    look(extras);
    for (size_t i = 0; i < EXTRAS; i++) {
        jw_object_member(&w, extras[i].key);
        jw_bool_member(&w, "ok", extras[i].ok);
        jw_cstr_member(&w, "text", extras[i].ok ? "" : extras[i].text);
        jw_end_object(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    puts(buf_cstr(&out));
}

int doctor(int argc, char **argv) {
    if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        puts(
            "Usage: kiln doctor [--json]\n\n"
            "Builds a sandbox as a function gets it and says what this machine gives. MISSING: no\n"
            "function can run without it (Python, Node.js: none of that language). reduced: they\n"
            "run without that limit, network or part of kiln. Exit status 1 when something is "
            "MISSING that "
            "every\n"
            "function needs.");
        return 0;
    }
    bool json = argc > 0 && strcmp(argv[0], "--json") == 0;
    if (argc > (json ? 1 : 0)) {
        (void)fputs("kiln doctor: it takes nothing but --json\n", stderr);
        return 2;
    }
    struct sandbox_probe probe;
    sandbox_probe(NULL, &probe);
    if (json)
        print_json(&probe);
    else
        print_text(&probe);
    return probe.ok ? 0 : 1;
}
