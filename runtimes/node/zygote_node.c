/* SPDX-License-Identifier: Apache-2.0 */
#include "node_runtime.h"

int main(int argc, char **argv) {
    return zygote_main(argc, argv, &node_runtime);
}
