/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-server: what `kiln serve` and `kiln doctor` become. */

#include "base/log.h"
#include "server/doctor.h"
#include "server/serve.h"
#include <stdio.h>

static int show_help(void) {
    cleanup_buf struct buf text = BUF_INIT(MIB);
    buf_puts(&text, "Usage: kiln serve [FLAGS]\n\n"
                    "Runs the server until SIGTERM. Settings come from the flags, or from the\n"
                    "--config file as `name = value` lines; the flags win.\n\n");
    settings_help(&text);
    buf_puts(&text, "\nKILN_ADMIN_TOKEN in the environment sets the administrator's token.\n");
    fputs(buf_cstr(&text), stdout);
    return 0;
}

static void setup_log(const struct settings *s) {
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_LEVEL_INFO;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(s->log_level, levels[i]) == 0)
            level = (enum log_level)i;
    log_setup(level, strcmp(s->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "doctor") == 0)
        return doctor(argc - 2, argv + 2);
    struct settings s;
    struct error err = {0};
    int r = settings_read(&s, argc - 1, argv + 1, &err);
    if (r == 0 && s.help) {
        show_help();
    } else if (r == 0 && s.version) {
        puts("kiln " KILN_VERSION);
    } else if (r == 0) {
        setup_log(&s);
        r = settings_check(&s, &err);
        if (r == 0)
            r = serve(&s, &err);
    }
    if (r < 0)
        (void)fprintf(stderr, "kiln serve: %s\n", err.text);
    settings_done(&s);
    return r < 0 ? (err.code == ERR_INVALID ? 2 : 1) : 0;
}
