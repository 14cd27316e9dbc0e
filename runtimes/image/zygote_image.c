/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

int main(int argc, char **argv) {
    return zygote_main(argc, argv, &image_runtime);
}
