/* SPDX-License-Identifier: Apache-2.0 */
#include "server/settings.h"
#include "egress/egress.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define CONFIG_FILE_MAX (256 * KIB)
#define PRICE_MAX       1e6

enum kind { KIND_TEXT, KIND_SWITCH, KIND_COUNT, KIND_SIZE, KIND_TIME, KIND_PRICE };

struct setting {
    const char *name; /* --name, and `name = value` in the file */
    enum kind kind;
    size_t offset;
    const char *fallback;
    uint64_t min, max; /* counts, bytes, milliseconds */
    const char *value; /* how --help names the value */
    const char *help;
};

#define AT(field) offsetof(struct settings, field)
static const struct setting table[] = {
    {"data", KIND_TEXT, AT(data), NULL, 0, 0, "DIR",
     "folder of everything that survives (default ~/.local/share/kiln)"},
    {"listen", KIND_TEXT, AT(listen), "127.0.0.1:8080", 0, 0, "HOST:PORT",
     "where the APIs, /health and /ready are"},
    {"gateway", KIND_TEXT, AT(gateway), "127.0.0.1:8081", 0, 0, "HOST:PORT",
     "where http triggers answer at their paths"},
    {"config", KIND_TEXT, AT(config), NULL, 0, 0, "FILE", "read settings from here: name = value"},
    {"store", KIND_TEXT, AT(store), "sqlite", 0, 0, "URL", "where state is kept: sqlite"},
    {"no-auth", KIND_SWITCH, AT(no_auth), NULL, 0, 0, "",
     "everybody is the administrator; loopback addresses only"},
    {"insecure", KIND_SWITCH, AT(insecure), NULL, 0, 0, "", "allow --no-auth on other addresses"},
    {"loops", KIND_COUNT, AT(loops), "0", 0, 64, "N",
     "event loop threads; 0 = half of the processors, at least 2"},
    {"log-level", KIND_TEXT, AT(log_level), "info", 0, 0, "LEVEL", "debug, info, warn or error"},
    {"log-format", KIND_TEXT, AT(log_format), "text", 0, 0, "FORM", "text or json"},

    {"memory", KIND_SIZE, AT(memory_default), "128Mi", 32 * MIB, 16 * GIB, "SIZE",
     "memory of an instance whose function does not say"},
    {"memory-max", KIND_SIZE, AT(memory_max), "4Gi", 32 * MIB, 64 * GIB, "SIZE",
     "the most that a function may have"},
    {"tmp-size", KIND_SIZE, AT(tmp_size), "64Mi", MIB, 16 * GIB, "SIZE", "/tmp of an instance"},
    {"pids-max", KIND_COUNT, AT(pids_max), "128", 16, 100000, "N",
     "processes and threads of an instance"},
    {"timeout", KIND_TIME, AT(timeout_ms), "30s", 100, 900000, "TIME",
     "a call may run so long where its function does not say"},
    {"start-timeout", KIND_TIME, AT(start_ms), "20s", 100, 600000, "TIME",
     "an instance may take so long to start and load"},
    {"queue-timeout", KIND_TIME, AT(queue_ms), "30s", 10, 600000, "TIME",
     "a call waits so long for an instance"},
    {"queue-max", KIND_COUNT, AT(queue_max), "1000", 1, 1000000, "N",
     "calls of a function that may wait, a loop"},
    {"idle-timeout", KIND_TIME, AT(idle_ms), "60s", 10, 86400000, "TIME",
     "an idle instance ends after this"},
    {"max-instances", KIND_COUNT, AT(max_instances), "10", 1, 1000, "N",
     "instances of a function that does not say"},
    {"instances-max", KIND_COUNT, AT(instances_total), "2000", 1, 20000, "N",
     "instances of all functions"},
    {"spares-python", KIND_COUNT, AT(spares_python), "1", 0, 64, "N",
     "parked Python processes a loop, once Python is used"},
    {"spares-node", KIND_COUNT, AT(spares_node), "1", 0, 64, "N",
     "parked Node.js processes a loop, once Node.js is used"},
    {"network-allow", KIND_TEXT, AT(network_allow), NULL, 0, 0, "CIDRS",
     "private addresses that functions may reach, by comma"},
    {"allow-host-network", KIND_SWITCH, AT(allow_host_network), NULL, 0, 0, "",
     "let administrators give functions the host's network"},
    {"uid-base", KIND_COUNT, AT(uid_base), "1879048192", 65536, INT32_MAX - 65535, "UID",
     "as root: first of 65536 user ids for sandboxes"},

    {"body-max", KIND_SIZE, AT(body_max), "50Mi", KIB, 60 * MIB, "SIZE", "body of a call"},
    {"response-max", KIND_SIZE, AT(response_max), "50Mi", KIB, 60 * MIB, "SIZE",
     "result of a call"},
    {"log-call-max", KIND_SIZE, AT(log_call_max), "256Ki", KIB, GIB, "SIZE",
     "log kept of one call"},
    {"output-call-max", KIND_SIZE, AT(output_call_max), "16Mi", KIB, GIB, "SIZE",
     "a call that prints more is ended"},
    {"async-running-max", KIND_COUNT, AT(async_running_max), "64", 1, 10000, "N",
     "queued calls that run at once"},
    {"task-lease", KIND_TIME, AT(task_lease_ms), "60s", 10, 86400000, "TIME",
     "a task that was handed out is reserved so long"},
    {"history-age", KIND_TIME, AT(history_age_ms), "7d", 1000, 3155760000000u, "TIME",
     "records, logs and metrics are kept so long"},
    {"history-bytes", KIND_SIZE, AT(history_bytes), "512Mi", MIB, 1024 * GIB, "SIZE",
     "and at most so many; the oldest go first"},
    {"drain-timeout", KIND_TIME, AT(drain_ms), "30s", 0, 3600000, "TIME",
     "on SIGTERM running calls have so long"},

    {"registries", KIND_TEXT, AT(registries), NULL, 0, 0, "HOSTS",
     "registries that images come from and go to, by comma; without it: all"},
    {"registry-auth", KIND_TEXT, AT(registry_auth), NULL, 0, 0, "FILE",
     "credentials for image registries, as in docker's config.json; mode 0600"},
    {"image-max", KIND_SIZE, AT(image_max), "2Gi", MIB, 1024 * GIB, "SIZE",
     "an image may unpack to so much"},
    {"image-cache-max", KIND_SIZE, AT(image_cache_max), "10Gi", MIB, 64 * 1024 * GIB, "SIZE",
     "unpacked images that are kept; those used longest ago go first"},

    {"work-threads", KIND_COUNT, AT(work_threads), "4", 1, 64, "N",
     "threads for what blocks: builds, registries, remote services"},
    {"work-queue", KIND_COUNT, AT(work_queue), "1000", 1, 100000, "N",
     "and what may wait for one of them"},

    {"tasks-running-max", KIND_COUNT, AT(tasks_running_max), "2", 1, 64, "N",
     "builds and pushes that run at once"},
    {"push-timeout", KIND_TIME, AT(push_ms), "10m", 1000, 86400000, "TIME",
     "an image is pushed within this"},
    {"task-age", KIND_TIME, AT(task_age_ms), "30d", 1000, 3155760000000u, "TIME",
     "ended tasks and what they built are kept so long"},
    {"task-keep", KIND_COUNT, AT(task_keep), "1000", 1, 1000000, "N",
     "and at most so many of a workspace"},
    {"kubeconfig", KIND_TEXT, AT(kubeconfig), NULL, 0, 0, "FILE",
     "the cluster that SpinApps are deployed to; else KUBECONFIG, else that of the pod"},

    {"connections-max", KIND_COUNT, AT(connections_max), "10000", 1, 1000000, "N",
     "connections a loop and listener"},
    {"head-timeout", KIND_TIME, AT(head_timeout_ms), "10s", 10, 600000, "TIME",
     "a client sends its request's head within this"},
    {"body-timeout", KIND_TIME, AT(body_timeout_ms), "30s", 10, 600000, "TIME",
     "and goes on sending its body within this"},
    {"keepalive-timeout", KIND_TIME, AT(keepalive_ms), "60s", 10, 3600000, "TIME",
     "an idle connection is closed after this"},
    {"write-timeout", KIND_TIME, AT(write_timeout_ms), "30s", 10, 600000, "TIME",
     "a client that takes nothing is cut off after this"},
    {"price-gb-second", KIND_PRICE, AT(price_gb_second), "0.0000166667", 0, 0, "PRICE",
     "of a GiB of memory for a second of running; in costEstimate"},
    {"price-request", KIND_PRICE, AT(price_request), "0.0000002", 0, 0, "PRICE",
     "of one call; in costEstimate"},
    {"loki-url", KIND_TEXT, AT(loki_url), NULL, 0, 0, "URL",
     "push log lines to this Loki as well, and query it"},
    {"loki-tenant", KIND_TEXT, AT(loki_tenant), NULL, 0, 0, "ID", "its X-Scope-OrgID"},
    {"loki-auth-file", KIND_TEXT, AT(loki_auth_file), NULL, 0, 0, "FILE",
     "holds \"user:password\" or \"Bearer TOKEN\" for it"},
    {"prometheus-url", KIND_TEXT, AT(prometheus_url), NULL, 0, 0, "URL",
     "ask this Prometheus, which scrapes /metrics"},
    {"prometheus-auth-file", KIND_TEXT, AT(prometheus_auth_file), NULL, 0, 0, "FILE",
     "as --loki-auth-file"},
    {"s3-url", KIND_TEXT, AT(s3_url), NULL, 0, 0, "URL",
     "keep code in this S3 (path-style addresses)"},
    {"s3-bucket", KIND_TEXT, AT(s3_bucket), "kiln", 0, 0, "NAME", "in this bucket of it"},
    {"s3-region", KIND_TEXT, AT(s3_region), "us-east-1", 0, 0, "NAME", "region that is signed for"},
    {"s3-keys-file", KIND_TEXT, AT(s3_keys_file), NULL, 0, 0, "FILE",
     "holds \"ACCESS_KEY:SECRET_KEY\"; else AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
    {"help", KIND_SWITCH, AT(help), NULL, 0, 0, "", "show this"},
    {"version", KIND_SWITCH, AT(version), NULL, 0, 0, "", "show the version"},
};

/* ---- values ---- */

struct unit {
    const char *suffix;
    uint64_t factor;
};
static const struct unit size_units[] = {
    {"", 1},     {"Ki", KIB},    {"Mi", MIB},       {"Gi", GIB},
    {"K", 1000}, {"M", 1000000}, {"G", 1000000000}, {NULL, 0},
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum kind kind) {
    return kind == KIND_SIZE ? size_units : kind == KIND_TIME ? time_units : count_units;
}

static int parse_number(const struct setting *st, struct str text, uint64_t *ret) {
    size_t digits = 0;
    while (digits < text.len && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    uint64_t n;
    if (digits == 0 || str_u64(str_n(text.p, digits), UINT64_MAX, &n) < 0)
        return -EINVAL;
    struct str suffix = str_n(text.p + digits, text.len - digits);
    for (const struct unit *u = units_of(st->kind); u->suffix; u++) {
        if (!str_is(suffix, u->suffix))
            continue;
        if (__builtin_mul_overflow(n, u->factor, ret))
            return -ERANGE;
        return *ret < st->min || *ret > st->max ? -ERANGE : 0;
    }
    return -EINVAL;
}

static const char *example(enum kind kind) {
    return kind == KIND_SIZE   ? "a size like 256Mi"
           : kind == KIND_TIME ? "a time like 500ms or 30s"
                               : "a whole number";
}

static void show(const struct setting *st, uint64_t v, char *out, size_t size) {
    const struct unit *best = NULL;
    for (const struct unit *u = units_of(st->kind); u->suffix; u++)
        if (v && v % u->factor == 0 && (!best || u->factor > best->factor))
            best = u;
    snprintf(out, size, "%llu%s", (unsigned long long)(best ? v / best->factor : v),
             best ? best->suffix : "");
}

/* Digits, with a point or none: what strtod() knows besides (inf, nan, hexadecimal) is no price. */
static int set_price(const struct setting *st, struct str value, const char *where, double *ret,
                     struct error *err) {
    char text[32] = "", *end = text;
    double price = -1;
    if (value.len && value.len < sizeof text) {
        memcpy(text, value.p, value.len);
        text[value.len] = 0;
        if (strspn(text, "0123456789.") == value.len)
            price = strtod(text, &end);
    }
    if (end == text || *end || price < 0 || price > PRICE_MAX)
        return error_field(err, ERR_INVALID, st->name,
                           "%s%s wants a price like 0.0000002, from 0 to %g, not \"%.*s\"", where,
                           st->name, PRICE_MAX, STR_ARG(value));
    *ret = price;
    return 0;
}

static int set_value(struct settings *s, const struct setting *st, struct str value,
                     const char *where, struct error *err) {
    void *field = (char *)s + st->offset;
    if (st->kind == KIND_TEXT) {
        free(*(char **)field);
        *(char **)field = str_dup(value);
        return 0;
    }
    if (st->kind == KIND_SWITCH) {
        if (!str_is(value, "true") && !str_is(value, "false"))
            return error_field(err, ERR_INVALID, st->name, "%s%s is true or false, not \"%.*s\"",
                               where, st->name, STR_ARG(value));
        *(bool *)field = str_is(value, "true");
        return 0;
    }
    if (st->kind == KIND_PRICE)
        return set_price(st, value, where, field, err);
    int r = parse_number(st, value, field);
    if (r == 0)
        return 0;
    char min[32], max[32];
    show(st, st->min, min, sizeof min);
    show(st, st->max, max, sizeof max);
    return error_field(err, ERR_INVALID, st->name, "%s%s wants %s from %s to %s, not \"%.*s\"",
                       where, st->name, example(st->kind), min, max, STR_ARG(value));
}

static const struct setting *find(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_is(name, table[i].name))
            return &table[i];
    return NULL;
}

/* ---- the command line ---- */

static int read_flag(struct settings *s, struct str arg, const char *next, bool *ret_used,
                     struct error *err) {
    *ret_used = false;
    if (!str_starts(arg, STR("--")))
        return error_set(err, ERR_INVALID,
                         "unexpected argument \"%.*s\": `kiln serve` takes flags only",
                         STR_ARG(arg));
    struct str rest = str_n(arg.p + 2, arg.len - 2);
    struct str name = str_cut(&rest, '=');
    const struct setting *st = find(name);
    if (!st)
        return error_set(err, ERR_INVALID, "unknown flag --%.*s: see `kiln serve --help`",
                         STR_ARG(name));
    if (rest.p)
        return set_value(s, st, rest, "--", err);
    if (st->kind == KIND_SWITCH)
        return set_value(s, st, STR("true"), "--", err);
    if (!next)
        return error_field(err, ERR_INVALID, st->name, "--%s wants a value: --%s %s", st->name,
                           st->name, st->value);
    *ret_used = true;
    return set_value(s, st, str_of(next), "--", err);
}

static int read_flags(struct settings *s, int argc, char **argv, struct error *err) {
    for (int i = 0; i < argc; i++) {
        bool used;
        if (read_flag(s, str_of(argv[i]), i + 1 < argc ? argv[i + 1] : NULL, &used, err) < 0)
            return -1;
        i += used;
    }
    return 0;
}

/* ---- the file ---- */

static int read_line(struct settings *s, struct str line, const char *where, struct error *err) {
    line = str_trim(line);
    if (line.len == 0 || line.p[0] == '#')
        return 0;
    struct str value = line;
    struct str name = str_trim(str_cut(&value, '='));
    const struct setting *st = find(name);
    if (!value.p)
        return error_set(err, ERR_INVALID, "%swrite \"name = value\"", where);
    if (!st || st->offset == AT(config) || st->offset == AT(help) || st->offset == AT(version))
        return error_set(err, ERR_INVALID, "%sno setting is called \"%.*s\"", where, STR_ARG(name));
    return set_value(s, st, str_trim(value), where, err);
}

static int read_file(struct settings *s, const char *path, struct error *err) {
    FILE *f = fopen(path, "re");
    if (!f)
        return error_set(err, ERR_INVALID, "cannot read --config %s: %s", path, errno_text(errno));
    cleanup_free char *text = x_alloc(CONFIG_FILE_MAX + 1);
    size_t n = fread(text, 1, CONFIG_FILE_MAX + 1, f);
    int failed = ferror(f) ? errno : 0; /* a folder opens, and then cannot be read */
    (void)fclose(f);
    if (failed)
        return error_set(err, ERR_INVALID, "cannot read --config %s: %s", path, errno_text(failed));
    if (n > CONFIG_FILE_MAX)
        return error_set(err, ERR_INVALID, "--config %s is larger than %zu bytes", path,
                         CONFIG_FILE_MAX);
    struct str rest = str_n(text, n);
    for (int line = 1; rest.p; line++) {
        char where[512];
        snprintf(where, sizeof where, "%.400s line %d: ", path, line);
        struct str one = str_cut(&rest, '\n');
        if (one.len && one.p[one.len - 1] == '\r')
            one.len--;
        if (read_line(s, one, where, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the whole ---- */

static void set_defaults(struct settings *s) {
    *s = (struct settings){0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].fallback) {
            struct error err;
            if (set_value(s, &table[i], str_of(table[i].fallback), "", &err) < 0)
                abort(); /* the table itself is wrong */
        }
    const char *home = getenv("HOME");
    const char *share = getenv("XDG_DATA_HOME");
    s->data = share && *share ? x_asprintf("%s/kiln", share)
                              : x_asprintf("%s/.local/share/kiln", home ? home : "/root");
}

int settings_read(struct settings *s, int argc, char **argv, struct error *err) {
    set_defaults(s);
    if (read_flags(s, argc, argv, err) < 0)
        return -1;
    if (!s->config)
        return 0;
    /* The file stands between the defaults and the command line: begin again, in that order. */
    cleanup_free char *path = x_strdup(s->config);
    settings_done(s);
    set_defaults(s);
    if (read_file(s, path, err) < 0)
        return -1;
    return read_flags(s, argc, argv, err);
}

void settings_done(struct settings *s) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].kind == KIND_TEXT)
            free(*(char **)((char *)s + table[i].offset));
    *s = (struct settings){0};
}

void settings_help(struct buf *out) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct setting *st = &table[i];
        char flag[48];
        snprintf(flag, sizeof flag, "--%s %s", st->name, st->value);
        buf_printf(out, "  %-30s %s", flag, st->help);
        if (st->fallback)
            buf_printf(out, " (%s)", st->fallback);
        buf_puts(out, "\n");
    }
}

static bool loopback(const char *address) {
    struct str s = str_of(address);
    return str_starts(s, STR("127.")) || str_starts(s, STR("localhost:")) ||
           str_starts(s, STR("[::1]:"));
}

static bool one_of(const char *s, const char *const *words) {
    for (; *words; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

int settings_check(const struct settings *s, struct error *err) {
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    if (s->no_auth && !s->insecure && !loopback(s->listen))
        return error_field(err, ERR_INVALID, "no-auth",
                           "--no-auth on %s would let everybody run code here: listen on "
                           "127.0.0.1, or add --insecure if that is what you want",
                           s->listen);
    if (strcmp(s->store, "sqlite") != 0)
        return error_field(err, ERR_INVALID, "store", "--store knows \"sqlite\", not \"%s\"",
                           s->store);
    if (!one_of(s->log_level, levels))
        return error_field(err, ERR_INVALID, "log-level",
                           "--log-level is debug, info, warn or error, not \"%s\"", s->log_level);
    if (!one_of(s->log_format, formats))
        return error_field(err, ERR_INVALID, "log-format",
                           "--log-format is text or json, not \"%s\"", s->log_format);
    struct egress_allow allow;
    size_t at = 0;
    if (egress_parse_allow(s->network_allow, &allow, &at) < 0)
        return error_field(
            err, ERR_INVALID, "network-allow",
            "--network-allow wants at most %d IPv4 addresses or networks that can be "
            "allowed, such as 10.1.0.0/16,192.168.1.7; wrong is \"%s\"",
            EGRESS_ALLOW_MAX, s->network_allow + at);
    if (s->memory_default > s->memory_max)
        return error_field(err, ERR_INVALID, "memory", "--memory is above --memory-max");
    return 0;
}
