/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of a SpinApp (core.spinkube.dev/v1alpha1), and where its pods may run. */

#include "task/internal.h"
#include "json/write.h"

#define EXECUTOR "containerd-shim-spin" /* as `spin kube scaffold` names it */

static void member(struct json_w *w, const char *name, struct str s, const char *absent) {
    jw_str_member(w, name, s.p ? s : str_of(absent));
}

static void write_resources(struct json_w *w, const struct spinapp *a) {
    jw_object_member(w, "resources");
    jw_object_member(w, "limits");
    member(w, "cpu", a->cpu_limit, SPINAPP_CPU_LIMIT);
    member(w, "memory", a->memory_limit, SPINAPP_MEMORY_LIMIT);
    jw_end_object(w);
    jw_object_member(w, "requests");
    member(w, "cpu", a->cpu_request, SPINAPP_CPU_REQUEST);
    member(w, "memory", a->memory_request, SPINAPP_MEMORY_REQUEST);
    jw_end_object(w);
    jw_end_object(w);
}

static void write_spec(struct json_w *w, const struct spinapp *a) {
    jw_str_member(w, "image", a->image);
    jw_cstr_member(w, "executor", EXECUTOR);
    if (a->autoscaling) /* the operator wants no replicas beside it */
        jw_bool_member(w, "enableAutoscaling", true);
    else
        jw_u64_member(w, "replicas", (uint64_t)a->replicas);
    if (a->component.p) {
        jw_array_member(w, "components");
        jw_str(w, a->component);
        jw_end_array(w);
    }
    if (a->bare)
        return;
    jw_object_member(w, "podLabels");
    jw_cstr_member(w, "faas", "true");
    if (a->function_id.p)
        jw_str_member(w, "function_id", a->function_id);
    jw_end_object(w);
    write_resources(w, a);
    if (a->service_account.p)
        jw_str_member(w, "serviceAccountName", a->service_account);
}

void spinapp_write(struct json_w *w, const struct spinapp *a) {
    jw_begin_object(w);
    jw_cstr_member(w, "apiVersion", "core.spinkube.dev/v1alpha1");
    jw_cstr_member(w, "kind", "SpinApp");
    jw_object_member(w, "metadata");
    jw_str_member(w, "name", a->name);
    if (a->namespace_.p)
        jw_str_member(w, "namespace", a->namespace_);
    jw_end_object(w);
    jw_object_member(w, "spec");
    write_spec(w, a);
    jw_end_object(w);
    jw_end_object(w);
}

/* ---- scheduling, which a SpinApp has no fields for: it is the Deployment's ---- */
/* What the well-known clusters call their spot nodes: label (and taint) and value. */
static const struct {
    const char *key, *value;
} SPOT[] = {
    {"karpenter.sh/capacity-type", "spot"},
    {"eks.amazonaws.com/capacityType", "SPOT"},
    {"cloud.google.com/gke-spot", "true"},
    {"kubernetes.azure.com/scalesetpriority", "spot"},
};

static void write_spot_tolerations(struct json_w *w) {
    jw_array_member(w, "tolerations");
    for (size_t i = 0; i < ARRAY_LEN(SPOT); i++) {
        jw_begin_object(w);
        jw_cstr_member(w, "key", SPOT[i].key);
        jw_cstr_member(w, "operator", "Equal");
        jw_cstr_member(w, "value", SPOT[i].value);
        jw_cstr_member(w, "effect", "NoSchedule");
        jw_end_object(w);
    }
    jw_end_array(w);
}

/* Preferred, not required: a cluster without spot nodes runs it too. */
static void write_spot_affinity(struct json_w *w) {
    jw_object_member(w, "affinity");
    jw_object_member(w, "nodeAffinity");
    jw_array_member(w, "preferredDuringSchedulingIgnoredDuringExecution");
    for (size_t i = 0; i < ARRAY_LEN(SPOT); i++) {
        jw_begin_object(w);
        jw_u64_member(w, "weight", 100);
        jw_object_member(w, "preference");
        jw_array_member(w, "matchExpressions");
        jw_begin_object(w);
        jw_cstr_member(w, "key", SPOT[i].key);
        jw_cstr_member(w, "operator", "In");
        jw_array_member(w, "values");
        jw_cstr(w, SPOT[i].value);
        jw_end_array(w);
        jw_end_object(w);
        jw_end_array(w);
        jw_end_object(w);
        jw_end_object(w);
    }
    jw_end_array(w);
    jw_end_object(w);
    jw_end_object(w);
}

bool spinapp_schedules(const struct spinapp *a) {
    return a->use_spot || a->tolerations.p || a->affinity.p;
}

void spinapp_write_scheduling(struct json_w *w, const struct spinapp *a) {
    jw_begin_object(w);
    jw_cstr_member(w, "apiVersion", "apps/v1");
    jw_cstr_member(w, "kind", "Deployment");
    jw_object_member(w, "metadata");
    jw_str_member(w, "name", a->name);
    jw_str_member(w, "namespace", a->namespace_);
    jw_end_object(w);
    jw_object_member(w, "spec");
    jw_object_member(w, "template");
    jw_object_member(w, "spec");
    if (a->tolerations.p)
        jw_raw_member(w, "tolerations", a->tolerations);
    else if (a->use_spot)
        write_spot_tolerations(w);
    if (a->affinity.p)
        jw_raw_member(w, "affinity", a->affinity);
    else if (a->use_spot)
        write_spot_affinity(w);
    for (int i = 0; i < 4; i++)
        jw_end_object(w);
}
