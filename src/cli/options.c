/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include <stdio.h>

enum kind { TEXT, LIST, FLAG };
struct option {
    const char *name;
    char letter;
    enum kind kind;
    size_t offset, count; /* of the value; LIST: of how many there are */
    const char *value, *help;
};

#define AT(f) offsetof(struct options, f)
static const struct option table[] = {
    {"name", 'n', TEXT, AT(name), 0, "NAME", "the function's name (default: the file's)"},
    {"runtime", 0, TEXT, AT(runtime), 0, "RUNTIME",
     "python3.11, nodejs18, … (default: by the file)"},
    {"handler", 0, TEXT, AT(handler), 0, "HANDLER", "file.function (default: the file's, handler)"},
    {"image", 0, TEXT, AT(image), 0, "REFERENCE",
     "an OCI image instead of code: --image REFERENCE NAME"},
    {"format", 0, TEXT, AT(format), 0, "FORMAT", "of an image's calls: default, http or json"},
    {"env", 'e', LIST, AT(env), AT(n_env), "KEY=VALUE", "an environment variable; may be repeated"},
    {"label", 'l', LIST, AT(label), AT(n_label), "KEY=VALUE", "a label; may be repeated"},
    {"memory", 0, TEXT, AT(memory), 0, "SIZE", "memory of an instance: 256Mi"},
    {"cpu", 0, TEXT, AT(cpu), 0, "CPU", "processor time of an instance: 500m, 2"},
    {"timeout", 0, TEXT, AT(timeout), 0, "SECONDS", "a call may run so long"},
    {"min", 0, TEXT, AT(min), 0, "N", "instances kept warm"},
    {"max", 0, TEXT, AT(max), 0, "N", "instances at most"},
    {"network", 0, TEXT, AT(network), 0, "NET", "egress, none or host"},
    {"http", 0, TEXT, AT(http), 0, "[METHOD ]PATH", "answer there on the gateway"},
    {"cron", 0, TEXT, AT(cron), 0, "SCHEDULE", "call it then (UTC): '*/5 * * * *', '@every 10s'"},
    {"data", 'd', TEXT, AT(data), 0, "TEXT|@FILE|-",
     "the body; @FILE reads a file, - standard input"},
    {"method", 'X', TEXT, AT(method), 0, "METHOD", "what event.method says (POST)"},
    {"path", 0, TEXT, AT(path), 0, "PATH", "what event.path says (/)"},
    {"header", 'H', LIST, AT(header), AT(n_header), "NAME: VALUE", "a header; may be repeated"},
    {"async", 0, FLAG, AT(async), 0, "", "do not wait: print the invocation's id"},
    {"follow", 'f', FLAG, AT(follow), 0, "", "go on with new lines as they come"},
    {"since", 0, TEXT, AT(since), 0, "TIME", "from then on: 10m, 2h, or RFC 3339"},
    {"until", 0, TEXT, AT(until), 0, "TIME", "up to then"},
    {"limit", 0, TEXT, AT(limit), 0, "N", "at most so many (100)"},
    {"previous", 0, FLAG, AT(previous), 0, "", "of the version that served before"},
    {"project", 'p', TEXT, AT(project), 0, "PROJECT", "the project (proj-default)"},
    {"json", 0, FLAG, AT(json), 0, "", "print for programs"},
    {"help", 'h', FLAG, AT(help), 0, "", "show this"},
};

static bool everywhere(const struct option *op) {
    return op->offset == AT(project) || op->offset == AT(json) || op->offset == AT(help);
}

static bool takes(const struct command *c, const struct option *op) {
    if (everywhere(op))
        return true;
    struct str rest = str_of(c->options);
    while (rest.p && rest.len)
        if (str_is(str_cut(&rest, ' '), op->name))
            return true;
    return false;
}

void options_help(const struct command *c, struct buf *out) {
    buf_printf(out, "Usage: kiln %s %s [OPTIONS]\n\n%s\n\n", c->name, c->args, c->help);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *op = &table[i];
        if (!takes(c, op))
            continue;
        char flag[64], letter[8] = "    ";
        if (op->letter)
            snprintf(letter, sizeof letter, "-%c, ", op->letter);
        snprintf(flag, sizeof flag, "%s--%s %s", letter, op->name, op->value);
        buf_printf(out, "  %-32s %s\n", flag, op->help);
    }
}

static const struct option *find(struct str arg) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option *op = &table[i];
        if (arg.len > 2 && arg.p[1] == '-' && str_is(str_n(arg.p + 2, arg.len - 2), op->name))
            return op;
        if (arg.len == 2 && op->letter && arg.p[1] == op->letter)
            return op;
    }
    return NULL;
}

static int store(struct options *o, const struct option *op, const char *value, struct error *err) {
    void *at = (char *)o + op->offset;
    if (op->kind == FLAG) {
        *(bool *)at = true;
    } else if (op->kind == TEXT) {
        *(const char **)at = value;
    } else {
        size_t *n = (size_t *)((char *)o + op->count);
        if (*n == CLI_LIST_MAX)
            return error_set(err, ERR_INVALID, "--%s at most %d times", op->name, CLI_LIST_MAX);
        ((const char **)at)[(*n)++] = value;
    }
    return 0;
}

static int parse_dashed(const struct command *c, struct options *o, int argc, char **argv, int *i,
                        struct error *err) {
    struct str value = str_of(argv[*i]);
    struct str name = str_cut(&value, '=');
    const struct option *op = find(name);
    if (!op || !takes(c, op))
        return error_set(err, ERR_INVALID, "unknown option %.*s: see `kiln %s --help`",
                         STR_ARG(name), c->name);
    if (op->kind == FLAG)
        return store(o, op, NULL, err);
    if (value.p)
        return store(o, op, value.p, err);
    if (*i + 1 >= argc)
        return error_set(err, ERR_INVALID, "--%s wants a value: --%s %s", op->name, op->name,
                         op->value);
    return store(o, op, argv[++*i], err);
}

int options_parse(const struct command *c, int argc, char **argv, struct options *o,
                  struct error *err) {
    *o = (struct options){0};
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            if (parse_dashed(c, o, argc, argv, &i, err) < 0)
                return -1;
        } else if (o->n_args == c->max_args) {
            return error_set(err, ERR_INVALID, "unexpected argument \"%s\": kiln %s %s", argv[i],
                             c->name, c->args);
        } else {
            o->args[o->n_args++] = argv[i];
        }
    }
    if (o->n_args < c->min_args && !o->help)
        return error_set(err, ERR_INVALID, "something is missing: kiln %s %s", c->name, c->args);
    return 0;
}
