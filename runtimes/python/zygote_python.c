/* SPDX-License-Identifier: Apache-2.0 */
#include "python_runtime.h"

int main(int argc, char **argv) {
    return zygote_main(argc, argv, &python_runtime);
}
