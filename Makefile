# SPDX-License-Identifier: Apache-2.0
# A front for Meson and Ninja, which do the work: see meson.build.
BUILD ?= build
.PHONY: all test clean lint bench
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
$(BUILD)/build.ninja:
	@meson setup $(BUILD)
test: all
	@meson test -C $(BUILD) --print-errorlogs
clean:
	@rm -rf $(BUILD)
lint: $(BUILD)/build.ninja
	@/usr/bin/python3 tools/lint.py $(BUILD)
bench:
	@tools/setup.sh bench
	@$(MAKE) --no-print-directory all
	@/usr/bin/python3 tests/bench/run.py
