# Run by machine.sh in the machine that counts: what a call takes, in thousands of
# instructions. Seconds there hold several collections of garbage.
compare -extauthz ./extauthz -noop ./noop -inflight 16 -only '1 key' -rounds 1 -warmup 2s -duration 6s -patience 0s
[ -e ratelimit ] || exit 0
peers -extauthz ./extauthz -noop ./noop -standin '' -ratelimit ./ratelimit -redis ./redis-server -limitador ./limitador \
	-configs configs -inflight 16 -rate 1000 -rounds 1 -warmup 1s -duration 5s -patience 0s -accuracy=false
