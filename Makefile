# The ways in. Each is a script that says what it does.

.PHONY: run stop uninstall test soak check bench clean

run:    ; @scripts/run.sh
stop:   ; @scripts/stop.sh
uninstall: ; @scripts/uninstall.sh
test:   ; @scripts/test.sh
soak:   ; @scripts/soak.sh
check:  ; @scripts/check.sh
bench:  ; @scripts/bench.sh
clean:  ; cargo clean
