/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SERVER_DOCTOR_H
#define KILN_SERVER_DOCTOR_H

/* `kiln doctor`: what this machine gives to functions, and how to get what is missing. 0 when
 * functions can run, 1 when not. --json prints for programs. */
int doctor(int argc, char **argv);

#endif
