/* SPDX-License-Identifier: Apache-2.0 */
/* The workspaces and projects in memory. They change on the store thread, in the order of their
 * commits; every thread reads. */

#include "core/places.h"

#define KEY_MAX (2 * (NAME_MAX_LEN + 1))

void places_init(struct places *p) {
    pthread_rwlock_init(&p->lock, NULL);
    map_init(&p->by_id);
    map_init(&p->by_name);
}

static void workspace_free(struct workspace *w) {
    workspace_done(w);
    free(w);
}

void places_done(struct places *p) {
    for (size_t i = 0; i < p->n_workspaces; i++)
        workspace_free(p->workspaces[i]);
    for (size_t i = 0; i < p->n_projects; i++) {
        free(p->projects[i]->key);
        project_unref(p->projects[i]->project);
        free(p->projects[i]);
    }
    free(p->workspaces);
    free(p->projects);
    map_done(&p->by_id);
    map_done(&p->by_name);
    pthread_rwlock_destroy(&p->lock);
}

/* ---- workspaces ---- */
void places_add_workspace(struct places *p, const struct workspace *w) {
    struct workspace *mine = x_memdup(w, sizeof *w);
    pthread_rwlock_wrlock(&p->lock);
    p->workspaces = grow(p->workspaces, p->n_workspaces, &p->cap_workspaces, sizeof(void *));
    p->workspaces[p->n_workspaces++] = mine;
    map_put(&p->by_id, str_of(mine->id), mine);
    pthread_rwlock_unlock(&p->lock);
}

void places_set_workspace(struct places *p, const struct workspace *w) {
    pthread_rwlock_wrlock(&p->lock);
    struct workspace *mine = map_get(&p->by_id, str_of(w->id));
    if (mine) {
        free(mine->name);
        free(mine->description);
        mine->name = x_strdup(w->name);
        mine->description = w->description ? x_strdup(w->description) : NULL;
        mine->updated_us = w->updated_us;
    }
    pthread_rwlock_unlock(&p->lock);
}

static void remove_at(void *v, size_t at, size_t *n) {
    void **items = v;
    memmove(items + at, items + at + 1, (*n - at - 1) * sizeof *items);
    --*n;
}

static void drop_project(struct places *p, size_t at) {
    struct place_project *entry = p->projects[at];
    map_del(&p->by_name, str_n(entry->key, entry->key_len));
    remove_at(p->projects, at, &p->n_projects);
    project_unref(entry->project);
    free(entry->key);
    free(entry);
}

void places_remove_workspace(struct places *p, struct str id) {
    pthread_rwlock_wrlock(&p->lock);
    struct workspace *mine = map_del(&p->by_id, id);
    for (size_t i = p->n_projects; i-- > 0;)
        if (str_is(id, p->projects[i]->project->workspace))
            drop_project(p, i);
    for (size_t i = 0; mine && i < p->n_workspaces; i++)
        if (p->workspaces[i] == mine)
            remove_at(p->workspaces, i, &p->n_workspaces);
    pthread_rwlock_unlock(&p->lock);
    if (mine)
        workspace_free(mine);
}

static void copy_workspace(struct workspace *to, const struct workspace *w) {
    *to = *w;
    to->id = x_strdup(w->id);
    to->name = x_strdup(w->name);
    to->description = w->description ? x_strdup(w->description) : NULL;
}

bool core_workspace(struct core *c, struct str id, struct workspace *ret) {
    pthread_rwlock_rdlock(&c->places.lock);
    const struct workspace *w = map_get(&c->places.by_id, id);
    if (w)
        copy_workspace(ret, w);
    pthread_rwlock_unlock(&c->places.lock);
    return w != NULL;
}

void core_workspaces_each(struct core *c, bool (*visit)(void *arg, const struct workspace *w),
                          void *arg) {
    pthread_rwlock_rdlock(&c->places.lock);
    for (size_t i = 0; i < c->places.n_workspaces; i++)
        if (!visit(arg, c->places.workspaces[i]))
            break;
    pthread_rwlock_unlock(&c->places.lock);
}

/* ---- projects ---- */
/* 0 when a part is too long to be a name. */
static size_t make_key(char out[KEY_MAX], struct str workspace, struct str name) {
    if (workspace.len > NAME_MAX_LEN || name.len > NAME_MAX_LEN)
        return 0;
    size_t len = 0;
    if (workspace.len)
        memcpy(out, workspace.p, workspace.len);
    len += workspace.len;
    out[len++] = '\0';
    if (name.len)
        memcpy(out + len, name.p, name.len);
    return len + name.len;
}

static struct place_project *find_project(const struct places *p, struct str workspace,
                                          struct str name) {
    char key[KEY_MAX];
    size_t len = make_key(key, workspace, name);
    return len ? map_get(&p->by_name, str_n(key, len)) : NULL;
}

void places_put_project(struct places *p, struct project *project) {
    pthread_rwlock_wrlock(&p->lock);
    struct place_project *entry =
        find_project(p, str_of(project->workspace), str_of(project->name));
    if (entry) {
        struct project *old = entry->project;
        entry->project = project;
        pthread_rwlock_unlock(&p->lock);
        project_unref(old);
        return;
    }
    char key[KEY_MAX];
    entry = x_alloc(sizeof *entry);
    entry->project = project;
    entry->key_len = make_key(key, str_of(project->workspace), str_of(project->name));
    entry->key = x_memdup(key, entry->key_len);
    p->projects = grow(p->projects, p->n_projects, &p->cap_projects, sizeof(void *));
    p->projects[p->n_projects++] = entry;
    map_put(&p->by_name, str_n(entry->key, entry->key_len), entry);
    pthread_rwlock_unlock(&p->lock);
}

void places_remove_project(struct places *p, uint32_t no) {
    pthread_rwlock_wrlock(&p->lock);
    for (size_t i = 0; i < p->n_projects; i++) {
        if (p->projects[i]->project->no == no) {
            drop_project(p, i);
            break;
        }
    }
    pthread_rwlock_unlock(&p->lock);
}

struct project *core_project(struct core *c, struct str workspace, struct str name) {
    pthread_rwlock_rdlock(&c->places.lock);
    struct place_project *entry = find_project(&c->places, workspace, name);
    struct project *project = entry ? project_ref(entry->project) : NULL;
    pthread_rwlock_unlock(&c->places.lock);
    return project;
}

void core_projects_each(struct core *c, struct str workspace,
                        bool (*visit)(void *arg, const struct project *p), void *arg) {
    pthread_rwlock_rdlock(&c->places.lock);
    for (size_t i = 0; i < c->places.n_projects; i++) {
        const struct project *project = c->places.projects[i]->project;
        if (str_is(workspace, project->workspace) && !visit(arg, project))
            break;
    }
    pthread_rwlock_unlock(&c->places.lock);
}

/* ---- those that a function is made in ---- */
int places_room(struct core *c, struct error *err) {
    struct places *p = &c->places;
    pthread_rwlock_rdlock(&p->lock);
    bool full = p->n_workspaces >= WORKSPACES_MAX || p->n_projects >= PROJECTS_MAX;
    pthread_rwlock_unlock(&p->lock);
    if (!full)
        return 0;
    return error_set(
        err, ERR_QUOTA,
        "there are %u workspaces or %u projects already: delete some that are not used",
        WORKSPACES_MAX, PROJECTS_MAX);
}

int places_ensure(struct core *c, struct store *s, const struct function *f,
                  struct places_new *made, struct error *err) {
    struct project *known = core_project(c, str_of(f->workspace), str_of(f->project));
    if (known) { /* its workspace is there too */
        project_unref(known);
        return 0;
    }
    if (places_room(c, err) < 0)
        return -1;
    if (store_workspace_ensure(s, f->workspace, f->created_us, &made->workspace, err) < 0)
        return -1;
    return store_project_ensure(s, f->workspace, f->project, f->created_us, &made->project, err) < 0
               ? -1
               : 0;
}

void places_made(struct core *c, struct places_new *made) {
    if (made->workspace.id)
        places_add_workspace(&c->places, &made->workspace);
    made->workspace = (struct workspace){0};
    if (made->project)
        places_put_project(&c->places, TAKE_PTR(made->project));
}

void places_new_done(struct places_new *made) {
    workspace_done(&made->workspace);
    project_unref(made->project);
    made->project = NULL;
}
