/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_ZYGOTE_INTERNAL_H
#define KILN_ZYGOTE_INTERNAL_H

/* Shared by the zygote's own files. One thread, one epoll, a table of instances.
 *
 * A child tells of its sandbox on one SOCK_SEQPACKET pair that all children share: it is closed
 * before a function's code runs. */

#include "base/list.h"
#include "base/map.h"
#include "sandbox/sandbox.h"
#include "wire/wire.h"
#include "zygote/runtime.h"

#define ZYGOTE_INSTANCES_MAX 20000u
#define ZYGOTE_CHANNELS_MAX  256u
/* Messages that wait for a channel: while any waits no request is read from it, so at most two an
 * instance and one an answer. */
#define ZYGOTE_QUEUE_MAX (2 * ZYGOTE_INSTANCES_MAX + 16)

struct pending {
    struct list node;
    struct zygote_msg msg;
    int fds[2]; /* owned */
    size_t n_fds;
};

/* Network namespaces kept ready, of each kind (about 100 KiB of kernel memory each). */
#define ZYGOTE_NETNS_SPARES 4u

struct netns {
    int sock; /* to the helper that makes them; -1 = none */
    struct netns_shelf {
        int fds[ZYGOTE_NETNS_SPARES][2]; /* namespace, tap device or -1 */
        size_t count;
    } shelves[2]; /* without, with a tap */
};

enum source_kind { SOURCE_CHANNEL, SOURCE_SIGNAL, SOURCE_REPORT };

struct channel {
    enum source_kind kind; /* first: what epoll hands back */
    int fd;
    bool first;
    struct list node;
    struct list queue; /* struct pending */
    size_t queued;
};

enum instance_state {
    INSTANCE_STARTING, /* the child works on its sandbox */
    INSTANCE_RUNNING,  /* SPAWNED was sent; EXITED follows */
    INSTANCE_FAILED,   /* SPAWN_FAILED was sent; nothing follows */
};

struct instance {
    uint64_t id;  /* the server's number */
    uint64_t pid; /* key of zygote.by_pid */
    uint32_t slot;
    int pidfd;
    int tap; /* of the ready-made namespace it got, until it is sent */
    enum instance_state state;
    struct channel *channel; /* who asked; NULL: gone */
};

struct zygote {
    const struct zygote_runtime *runtime;
    struct sandbox sandbox;
    struct netns netns;
    int epoll, signals;
    int report_in, report_out;
    enum source_kind signal_source, report_source;
    struct list channels;
    size_t n_channels;
    struct map by_pid;
    struct instance **slots; /* by slot number, NULL = free */
    uint32_t *free_slots;
    uint32_t n_slots, n_free;
};

/* instances.c */
/* Forks; answers on CH when it is done. Takes the FDS. */
void instance_spawn(struct zygote *z, struct channel *ch, const struct zygote_msg *m,
                    const int *fds, size_t n_fds);
void instances_reports(struct zygote *z);                          /* report_in is readable */
void instances_reap(struct zygote *z);                             /* SIGCHLD */
void instances_orphan(struct zygote *z, const struct channel *ch); /* CH closes: kill its own */

/* netns.c */
void netns_start(struct netns *n); /* before the interpreter is warm: the helper stays small */
/* A ready one for an instance of this enum zygote_net: the caller's fds, *ret_tap may be -1. */
bool netns_take(struct netns *n, uint32_t net, int *ret_ns, int *ret_tap);

/* serve.c */
int channel_add(struct zygote *z, int fd, bool first); /* takes FD in any case */
/* Sends or queues; takes FDS. */
void channel_send(struct zygote *z, struct channel *ch, const struct zygote_msg *m, const int *fds,
                  size_t n_fds);
int zygote_serve(struct zygote *z); /* until the first channel closes: 0 or -errno */

#endif
