/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/cgroup_internal.h"

/* Finding the groups that this process may divide further, and making the tree in them. */

#include "sandbox/sandbox.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *const controller_names[CG_CONTROLLERS] = {"memory", "cpu", "pids", "cpuacct"};

bool cgroup_name_ok(const char *name, size_t max) {
    size_t n = strlen(name);
    if (n == 0 || n >= max)
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
            return false;
    return true;
}

/* ---- where is it mounted, where are we ---- */

/* Is WORD one of the words of LIST, split at SEP? */
static bool has_word(const char *list, const char *word, char sep) {
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == sep) && (p[n] == '\0' || p[n] == sep || p[n] == '\n'))
            return true;
    return false;
}

/* Mount point and root of the cgroup2 file system (CONTROLLER NULL), or of the v1 one that carries
 * CONTROLLER; proc(5) on mountinfo. */
static bool find_mount(const char *controller, char *ret_at, char *ret_root) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return false;
    char line[8192], at[PATH_MAX], root[PATH_MAX], type[64], options[1024];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", root, at) != 2 ||
            sscanf(rest, " - %63s %*s %1023s", type, options) != 2)
            continue;
        found = controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller, ',')
                           : strcmp(type, "cgroup2") == 0;
    }
    (void)fclose(f);
    if (found) {
        (void)snprintf(ret_at, PATH_MAX, "%s", at);
        (void)snprintf(ret_root, PATH_MAX, "%s", root);
    }
    return found;
}

/* Our path in the hierarchy: "5:cpu,cpuacct:/path" on v1, "0::/path" on v2. */
static bool find_own(const char *controller, char *ret_path) {
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return false;
    char line[PATH_MAX + 256];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        list++;
        found = controller ? has_word(list, controller, ',') : *list == '\0';
        if (found)
            (void)snprintf(ret_path, PATH_MAX, "%s", path);
    }
    (void)fclose(f);
    return found;
}

/* The folder of our own group, and the mount point above which nothing is ours to look at. A server
 * that is in the leaf of a tree of this name (it was restarted from there) is taken as outside. */
static bool own_folder(const char *controller, const char *tree, char *ret, char *ret_top) {
    char at[PATH_MAX], root[PATH_MAX], path[PATH_MAX], inner[CGROUP_ID_MAX + 32];
    if (!find_mount(controller, at, root) || !find_own(controller, path))
        return false;
    const char *below = path;
    size_t n = strlen(root);
    if (n > 1) /* a part of the hierarchy is mounted: what is below it counts */
        below = strncmp(path, root, n) == 0 ? path + n : "";
    int len = snprintf(ret, PATH_MAX, "%s%s", at, below);
    if (len < 0 || len >= PATH_MAX)
        return false;
    while (len > 1 && ret[len - 1] == '/')
        ret[--len] = '\0';
    (void)snprintf(inner, sizeof(inner), "/%s/" CGROUP_SERVER_LEAF, tree);
    size_t tail = strlen(inner);
    if ((size_t)len > tail && strcmp(ret + len - tail, inner) == 0)
        ret[(size_t)len - tail] = '\0';
    (void)snprintf(ret_top, PATH_MAX, "%s", at);
    return true;
}

/* ---- making the tree's folder ---- */

/* Opens FOLDER and makes the tree in it, after removing what a dead server left there. */
static int tree_folder(struct hierarchy *h, const char *folder, const char *name) {
    cleanup_close int parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int r = procs_remove_tree(parent, name);
    if (r < 0)
        return r;
    if (mkdirat(parent, name, 0755) < 0)
        return -errno;
    cleanup_close int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        r = -errno;
        (void)unlinkat(parent, name, AT_REMOVEDIR);
        return r;
    }
    h->parent = take_fd(&parent);
    h->dir = take_fd(&dir);
    return 0;
}

static void tree_folder_undo(struct hierarchy *h, const char *name) {
    (void)procs_remove_tree(h->parent, name);
    fd_close(&h->parent);
    fd_close(&h->dir);
}

/* ---- version 2 ---- */

/* Turns on what is wanted and can be had for DIR's children; *RET_BUSY: processes stand in the way.
 */
static void enable(int dir, bool has[CG_CONTROLLERS], bool *ret_busy) {
    char on[1024];
    for (size_t c = 0; c < CG_CPUACCT; c++) {
        char word[16];
        int n = snprintf(word, sizeof(word), "+%s", controller_names[c]);
        int r = file_write(dir, "cgroup.subtree_control", word, (size_t)n);
        if (r == -EBUSY)
            *ret_busy = true;
        has[c] = file_read(dir, "cgroup.subtree_control", on, sizeof(on)) > 0 &&
                 has_word(on, controller_names[c], ' ');
    }
}

static bool any(const bool has[CG_CONTROLLERS]) {
    return has[CG_MEMORY] || has[CG_CPU] || has[CG_PIDS];
}

/* The tree inside FOLDER, which is our own group (OWN: we must leave it first, as a group with
 * processes cannot have controllers below) or one above it. */
static int try_v2(struct cgroup_tree *t, const char *folder, bool own) {
    struct hierarchy h = {.parent = -1, .dir = -1};
    int r = tree_folder(&h, folder, t->name);
    if (r < 0)
        return r;
    bool busy = false, moved = false;
    enable(h.parent, h.has, &busy);
    if (busy && own && mkdirat(h.dir, CGROUP_SERVER_LEAF, 0755) == 0 &&
        procs_move_self(h.dir, CGROUP_SERVER_LEAF) == 0) {
        moved = true;
        enable(h.parent, h.has, &busy);
    }
    if (any(h.has))
        enable(h.dir, h.has, &busy);
    if (!any(h.has)) {
        if (moved)
            (void)procs_move_self(h.parent, ".");
        tree_folder_undo(&h, t->name);
        return -EBUSY;
    }
    t->h[t->n_h++] = h;
    t->moved = moved;
    return 0;
}

/* Our own group; else the nearest above it that lets us (a user's systemd slice, the root). */
static bool find_v2(struct cgroup_tree *t) {
    char folder[PATH_MAX], top[PATH_MAX];
    if (!own_folder(NULL, t->name, folder, top))
        return false;
    for (bool own = true;; own = false) {
        if (try_v2(t, folder, own) == 0)
            return true;
        char *slash = strrchr(folder, '/');
        if (strcmp(folder, top) == 0 || !slash || slash == folder)
            return false;
        *slash = '\0';
    }
}

/* ---- version 1 ---- */

static bool same_folder(int a, const char *path) {
    struct stat x, y;
    return fstat(a, &x) == 0 && stat(path, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void add_v1(struct cgroup_tree *t, enum controller c) {
    char folder[PATH_MAX], top[PATH_MAX];
    if (!own_folder(controller_names[c], t->name, folder, top))
        return;
    for (size_t i = 0; i < t->n_h; i++)
        if (same_folder(t->h[i].parent, folder)) {
            t->h[i].has[c] = true;
            return;
        }
    struct hierarchy h = {.parent = -1, .dir = -1};
    h.has[c] = true;
    if (tree_folder(&h, folder, t->name) == 0)
        t->h[t->n_h++] = h;
}

/* ---- the tree ---- */

static void explain(struct cgroup_info *info) {
    if (info->has_memory && info->has_cpu && info->has_pids)
        return;
    char missing[64] = "";
    const bool has[] = {info->has_memory, info->has_cpu, info->has_pids};
    for (size_t c = 0; c < ARRAY_LEN(has); c++)
        if (!has[c])
            (void)snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), "%s%s",
                           missing[0] ? ", " : "", controller_names[c]);
    (void)snprintf(
        info->why, sizeof(info->why),
        "no writable control group for: %s; run as root, or give kiln a delegated group: "
        "systemd-run --user --scope -p Delegate=yes kiln serve …",
        missing);
}

static void fill_info(struct cgroup_tree *t, enum cgroup_mode mode) {
    bool has[CG_CONTROLLERS] = {false};
    for (size_t i = 0; i < t->n_h; i++)
        for (size_t c = 0; c < CG_CONTROLLERS; c++)
            has[c] |= t->h[i].has[c];
    t->info = (struct cgroup_info){.mode = t->n_h ? mode : CGROUP_NONE,
                                   .has_memory = has[CG_MEMORY],
                                   .has_cpu = has[CG_CPU],
                                   .has_pids = has[CG_PIDS]};
    explain(&t->info);
}

int cgroup_tree_new(const char *id, struct cgroup_tree **ret) {
    if (strlen(id) >= CGROUP_ID_MAX)
        return -ENAMETOOLONG;
    if (!cgroup_name_ok(id, CGROUP_ID_MAX))
        return -EINVAL;
    struct cgroup_tree *t = x_alloc(sizeof(*t));
    (void)snprintf(t->name, sizeof(t->name), "kiln-%s", id);
    enum cgroup_mode mode = CGROUP_V2;
    if (!find_v2(t)) {
        mode = CGROUP_V1;
        for (size_t c = 0; c < CG_CPUACCT; c++)
            add_v1(t, (enum controller)c);
        if (t->n_h) /* counts for those that limit */
            add_v1(t, CG_CPUACCT);
    }
    fill_info(t, mode);
    *ret = t;
    return 0;
}

/* Out of the leaf, for which the controllers must be off again above. */
static void move_back(const struct hierarchy *h) {
    const int dirs[] = {h->dir, h->parent};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        for (size_t c = 0; c < CG_CONTROLLERS; c++) {
            char word[16];
            int n = snprintf(word, sizeof(word), "-%s", controller_names[c]);
            if (h->has[c])
                (void)file_write(dirs[i], "cgroup.subtree_control", word, (size_t)n);
        }
    (void)procs_move_self(h->parent, ".");
}

void cgroup_tree_free(struct cgroup_tree *t) {
    if (!t)
        return;
    if (t->moved)
        move_back(&t->h[0]);
    for (size_t i = 0; i < t->n_h; i++)
        tree_folder_undo(&t->h[i], t->name);
    free(t);
}

const struct cgroup_info *cgroup_tree_info(const struct cgroup_tree *t) {
    return &t->info;
}
