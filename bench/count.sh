# Run by machine.sh in the machine that counts: what a call takes, in thousands of
# instructions.
compare -extauthz ./extauthz -noop ./noop -inflight 16 -rounds 1 -duration 2s -patience 0s
[ -e ratelimit ] || exit 0
peers -extauthz ./extauthz -noop ./noop -standin '' -ratelimit ./ratelimit -redis ./redis-server -limitador ./limitador \
	-configs configs -rounds 1 -duration 2s -patience 0s -accuracy=false
