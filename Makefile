# The ways in. Each is a script that says what it does.

.PHONY: run stop test soak check bench clean

run:    ; @scripts/run.sh
stop:   ; @scripts/stop.sh
test:   ; @scripts/test.sh
soak:   ; @scripts/soak.sh
check:  ; @scripts/check.sh
bench:  ; @scripts/bench.sh
clean:  ; cargo clean
