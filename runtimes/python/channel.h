/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_CHANNEL_H
#define KILN_RUNTIMES_PYTHON_CHANNEL_H

/* The instance's end of its channel: one read brings many frames, one write carries away what a
 * batch of calls produced.
 *
 * Held output leaves (a) before the worker waits for more input, (b) when it passes a limit,
 * (c) by a timer signal, so that neither a finished call nor a log line waits for long behind code
 * that computes or sleeps, (d) when the process dies of a signal such as SIGSEGV. Where the kernel
 * gives no timer, nothing is held across a call.
 *
 * Every function wants the GIL held, except chan_detach() (in the child of a fork). Appending is
 * guarded against the timer's handler by a lock that is held for a memcpy only: no Python code
 * runs under it. */

#include <sys/types.h>

#include "wire/wire.h"

enum chan_stream { CHAN_STDOUT = 0, CHAN_STDERR = 1 };

void chan_open(int fd);
bool chan_is_open(void); /* false after chan_detach() */
/* Next whole frame; its payload is valid until the next chan_next(). 1, 0 at the end of the
 * channel, -EBADMSG when the frame is malformed, other -errno. */
int chan_next(struct wire_frame *ret);
/* Frames logged from now on belong to call SEQ; 0 = to none. */
void chan_set_call(uint32_t seq);

/* Appends one frame: HEAD and then TAIL as its payload. 0, or -EMSGSIZE over WIRE_FRAME_MAX. */
int chan_frame(enum wire_type type, uint32_t seq, struct str head, struct str tail);
int chan_frame_flags(enum wire_type type, uint8_t flags, uint32_t seq, struct str head,
                     struct str tail);
/* One LOG frame of TEXT, line breaks and all, cut in pieces where longer than WIRE_LOG_LINE_MAX. */
void chan_log(enum wire_level level, struct str text);
/* Bytes written to a text stream: whole lines become LOG frames, the rest waits for its end. */
void chan_write(enum chan_stream stream, struct str text);
/* Unfinished lines become LOG frames. */
void chan_end_lines(void);
/* Everything held is written. 0 or -errno (the server is gone). */
int chan_flush(void);
/* Flushes what it can and ends the process without running anything else. */
void chan_exit(int status) NORETURN;
/* Forks, as fork(2), such that the channel is the child's; the parent does not touch it until the
 * child has ended. */
pid_t chan_fork(void);
/* In the child of a fork made by the function: the channel stays the parent's; text goes to
 * descriptors 1 and 2 instead. */
void chan_detach(void);
/* Throws away what is held: used while warming, where there is no channel. */
void chan_discard(void);

#endif
