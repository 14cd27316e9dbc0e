/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the image: the body of a call comes on standard input, standard output is the answer,
 * standard error the log. Any program does that is written so. */

#include <ctype.h>
#include <stdio.h>

int main(void) {
    long n = 0;
    for (int c; (c = getchar()) != EOF; n++)
        putchar(toupper(c));
    fprintf(stderr, "shouted %ld bytes\n", n);
    return 0;
}
