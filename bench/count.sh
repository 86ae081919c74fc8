#!/bin/sh
# Counts the instructions that a call takes in user mode, by valgrind: where the
# machine has no counters, and neighbours that make times mean nothing. Run by
# `make -C bench count`. A run makes some thousand calls after the first ones;
# two runs are subtracted, so that starting and warming up don't count.
set -eu
service=$1 noop=$2 load=$3
few=1000 many=9000 in_flight=16 port=${PORT:-18290}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# run CALLS LOADFLAGS -- SERVER...: the instructions of a run
run() {
	calls=$1 flags=$2
	shift 3
	GODEBUG=asyncpreemptoff=1 valgrind -q --tool=cachegrind --cache-sim=no --cachegrind-out-file="$out/count" --log-file="$out/log" "$@" 2>/dev/null &
	pid=$!
	# The generator waits until the server listens.
	# shellcheck disable=SC2086
	timeout 900 "$load" -grpc "127.0.0.1:$port" -inflight $in_flight -repeat "$calls" -warmup 0 -duration 0 $flags >/dev/null
	kill "$pid"
	wait "$pid" || true
	sed -n 's/^summary: *//p' "$out/count"
}

# each LOADFLAGS -- SERVER...: thousands of instructions for each call
each() {
	a=$(run $few "$@")
	b=$(run $many "$@")
	echo "$a $b" | awk -v n=$((many - few)) '{ printf "%.1f", ($2 - $1) / n / 1000 }'
}

echo "| | no-op, k instr/call | extauthz, k instr/call | ratio |"
echo "|---|--:|--:|--:|"
for limit in open tight; do
	reject=false answer=allowed
	[ $limit = tight ] && reject=true answer=rejected
	for authz in false true; do
		flags="-limit $limit -authz=$authz"
		base=$(each "$flags" -- "$noop" -grpc "127.0.0.1:$port" -reject=$reject)
		ours=$(each "$flags" -- "$service" serve --config extauthz.yaml --grpc "127.0.0.1:$port" --metrics 127.0.0.1:0 --admin 127.0.0.1:0 --log-level error)
		name=RLS
		[ $authz = true ] && name=ext_authz
		echo "$name $answer $base $ours" | awk '{ printf "| %s, %s | %s | %s | %.2f |\n", $1, $2, $3, $4, $4 / $3 }'
	done
done

# What everything that can be switched on takes: ten rules, all headers, metadata.
echo
echo "| | plain, k instr/call | ten rules and all headers, k instr/call | ratio |"
echo "|---|--:|--:|--:|"
for limit in open tight; do
	answer=allowed
	[ $limit = tight ] && answer=rejected
	for authz in false true; do
		flags="-limit $limit -authz=$authz"
		name=RLS
		[ $authz = true ] && name=ext_authz
		plain=$(each "$flags" -- "$service" serve --config plain.yaml --grpc "127.0.0.1:$port" --metrics 127.0.0.1:0 --admin 127.0.0.1:0 --log-level error)
		full=$(each "$flags" -- "$service" serve --config full.yaml --grpc "127.0.0.1:$port" --metrics 127.0.0.1:0 --admin 127.0.0.1:0 --log-level error)
		echo "$name $answer $plain $full" | awk '{ printf "| %s, %s | %s | %s | %.2f |\n", $1, $2, $3, $4, $4 / $3 }'
	done
done
