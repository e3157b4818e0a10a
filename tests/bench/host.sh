# shellcheck shell=bash
# A host in a directory, without containers, for benchmarks that source this: workers, an agent with persistent no-op
# handlers, and what they cost. Needs PORT, INSTANCES, OUT (where the executables are) and, before `start`, STATE, RUN
# and LANES (directories).

TICK_US=$((1000000 / $(getconf CLK_TCK)))
PIDS=()

# build PACKAGE EXECUTABLES...: as they are packaged.
build() {
    [[ ${BENCH_BUILD-yes} == yes ]] || return 0
    RUSTFLAGS=$(packaging/build --print-rustflags) cargo build --quiet --release --locked --target "$TRIPLE" -p "$@"
}

# Sockets that share a port, as systemd makes them.
LISTEN='import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(4096); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])'

deploy() {
    AGENT=$STATE/agents/localhost/bench
    mkdir -p "$AGENT/code" "$STATE/agents/.new" "$RUN/inst" "$LANES"
    cp "$OUT/examples/noop_worker" "$AGENT/code/"
    printf '%s' '{"name":"bench","container":"localhost/bench","commands":{"bench.noop":"worker"},"worker":{"command":"./noop_worker","processes":4},"concurrency":4}' >"$AGENT/manifest.json"
    printf '%s' '{"domains":[{"name":"localhost"}],"deployments":[{"domain":"localhost","path":"/bench","agent":"bench"}]}' >"$STATE/config.json"
}

# Starts agent and workers with empty queues; returns when they answer.
start() {
    local lane=$LANES/localhost-bench tasks=$AGENT/.tasks name
    rm -rf "$lane" "$tasks"
    for name in requests urgent responses errors locks files outputs; do mkdir -p "$tasks/$name"; done
    for name in requests urgent streams responses locks; do mkdir -p "$lane/$name"; done
    "$OUT/agent-core" run --tasks "$tasks" --sync "$lane" --manifest "$AGENT/manifest.json" \
        --code "$AGENT/code" 2>>"$HOST/log" &
    PIDS+=($!)
    for ((n = 1; n <= INSTANCES; n++)); do
        python3 -c "$LISTEN" "$PORT" "$OUT/ploinkyd" --instance "$n" --state "$STATE" \
            --runtime "$RUN" >>"$HOST/log" 2>&1 &
        PIDS+=($!)
    done
    for ((n = 1; n <= INSTANCES * 20; n++)); do
        curl -s --fail --retry 50 --retry-connrefused --retry-all-errors --retry-delay 0 -o /dev/null \
            -d '{"command":"bench.noop","params":[]}' "http://127.0.0.1:$PORT/bench" || { tail "$HOST/log" >&2; exit 1; }
    done
}

stop() {
    [[ ${#PIDS[@]} == 0 ]] || { kill "${PIDS[@]}" && wait "${PIDS[@]}"; } 2>/dev/null || true
    PIDS=()
}

# Microseconds of CPU time of processes and of their children that run.
used() {
    local pid all=0 ticks
    for pid in $(for pid in "$@"; do echo "$pid" && pgrep -P "$pid" || true; done); do
        ticks=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}')
        all=$((all + ticks * TICK_US))
    done
    echo "$all"
}

# PORT PATH CONNECTIONS PIDS...: calls per second, median, cpu, failed calls.
load() {
    local port=$1 path=$2 connections=$3 before after rate median count failed
    shift 3
    before=$(used "$@")
    read -r rate median failed count <<<"$(wrk -t1 -c"$connections" -d"${DURATION}s" --latency \
        -s tests/bench/post.lua "http://127.0.0.1:$port$path" | sed -n 's/^RESULT //p')"
    after=$(used "$@")
    echo "$rate $median $(((after - before) * 10 / (count + 1)))e-1 $failed"
}

# CONNECTIONS COLUMN: the median of a column of the rows of the file ROWS that begin with CONNECTIONS.
median() { awk -v c="$1" -v n="$2" '$1 == c {print $n}' "$ROWS" | sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
# CONNECTIONS COLUMN: the median, the lowest and the highest.
spread() {
    awk -v c="$1" -v n="$2" '$1 == c {print $n}' "$ROWS" | sort -g |
        awk '{v[NR] = $1} END {printf "%.2f (%.2f to %.2f)", v[int((NR + 1) / 2)], v[1], v[NR]}'
}
