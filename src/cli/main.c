/* SPDX-License-Identifier: Apache-2.0 */
/* kiln: the command line. `serve` and `doctor` become kiln-server, which stands beside. */

#include "cli/cli.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>

static const struct command commands[] = {
    {"deploy", "FILE|DIR", "make a function from a file or folder, or give it a new version", 1, 1,
     "name runtime handler image format env label memory cpu timeout min max network http cron",
     command_deploy},
    {"invoke", "NAME", "call a function and print what it returns", 1, 1,
     "data method path header async", command_invoke},
    {"list", "", "show the functions", 0, 0, "", command_list},
    {"get", "NAME", "show one function", 1, 1, "", command_get},
    {"logs", "NAME", "show what a function printed", 1, 1, "follow since until limit previous",
     command_logs},
    {"metrics", "NAME", "show calls, errors and times of a function", 1, 1, "since until",
     command_metrics},
    {"events", "NAME", "show what was done with a function", 1, 1, "limit", command_events},
    {"triggers", "NAME", "show at which paths and times a function is called", 1, 1, "",
     command_triggers},
    {"versions", "NAME", "show the versions of a function", 1, 1, "", command_versions},
    {"activate", "NAME VERSION", "let a version serve (v3, or its id)", 2, 2, "", command_activate},
    {"rollback", "NAME", "let the version serve that did before", 1, 1, "", command_rollback},
    {"delete", "NAME", "remove a function with all its versions", 1, 1, "", command_delete},
};

static int usage(FILE *to) {
    fputs("Usage: kiln COMMAND …\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        char call[64];
        snprintf(call, sizeof call, "%s %s", commands[i].name, commands[i].args);
        (void)fprintf(to, "  %-23s  %s\n", call, commands[i].help);
    }
    fputs("  serve                    run the server (kiln serve --help)\n"
          "  doctor                   show what this machine gives to functions, and what is "
          "missing\n"
          "  version                  show the version\n\n"
          "kiln COMMAND --help shows a command's options. --json prints for programs.\n"
          "The server is KILN_URL with KILN_TOKEN, or the one of this machine; KILN_WORKSPACE\n"
          "chooses the workspace.\n",
          to);
    return to == stdout ? 0 : 2;
}

static int become_server(char **argv, bool keep_word) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    if (n < 0)
        n = 0;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    memcpy(slash ? slash + 1 : path, "kiln-server", sizeof "kiln-server");
    char **rest = keep_word ? argv : argv + 1;
    rest[0] = keep_word ? rest[0] : path;
    execv(path, rest);
    (void)fprintf(stderr, "kiln: cannot start %s: %s\n", path, errno_text(errno));
    return 1;
}

static const struct command *find(const char *word) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static int show_help(const struct command *c) {
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    options_help(c, &text);
    fputs(buf_cstr(&text), stdout);
    return 0;
}

static int run(const struct command *c, int argc, char **argv) {
    struct options o;
    struct error err = {0};
    int r = options_parse(c, argc, argv, &o, &err);
    if (r == 0 && o.help)
        return show_help(c);
    if (r == 0)
        r = c->run(&o, &err);
    progress_end();
    if (r < 0)
        (void)fprintf(stderr, "kiln %s: %s\n", c->name, err.text);
    client_done();
    return r < 0 ? (err.code == ERR_INVALID ? 2 : 1) : 0;
}

int main(int argc, char **argv) {
    if (argc < 2)
        return usage(stderr);
    const char *word = argv[1];
    if (strcmp(word, "serve") == 0)
        return become_server(argv, false);
    if (strcmp(word, "doctor") == 0)
        return become_server(argv, true);
    if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0) {
        puts("kiln " KILN_VERSION);
        return 0;
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return argc > 2 && find(argv[2]) ? show_help(find(argv[2])) : usage(stdout);
    const struct command *c = find(word);
    if (c)
        return run(c, argc - 2, argv + 2);
    (void)fprintf(stderr, "kiln: there is no command \"%s\": `kiln help` shows them\n", word);
    return 2;
}
