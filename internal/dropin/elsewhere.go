package dropin

import "strings"

// elsewhere are the variables that nothing reads here, and what stands in their
// place.
var elsewhere = []struct {
	hint   string
	prefix string // of names that somebody chose; empty: none
	names  []string
}{
	{
		hint:  "the admin port has its address from --admin, and answers this machine alone by default",
		names: words("DEBUG_HOST"),
	},
	{
		hint:  "connections last until the service stops",
		names: words("GRPC_MAX_CONNECTION_AGE GRPC_MAX_CONNECTION_AGE_GRACE"),
	},
	{
		hint:  "`tls:` in the file of --config does it: cert, key and client_ca",
		names: words("GRPC_SERVER_USE_TLS GRPC_SERVER_TLS_CERT GRPC_SERVER_TLS_KEY GRPC_CLIENT_TLS_CACERT GRPC_CLIENT_TLS_SAN"),
	},
	{hint: "--log-format does it", names: words("LOG_FORMAT")},
	{
		hint: "the configuration comes from the folder alone",
		names: words(`CONFIG_TYPE CONFIG_GRPC_XDS_NODE_ID CONFIG_GRPC_XDS_NODE_METADATA CONFIG_GRPC_XDS_SERVER_URL
			CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS CONFIG_GRPC_XDS_SERVER_USE_TLS
			CONFIG_GRPC_XDS_CLIENT_TLS_CERT CONFIG_GRPC_XDS_CLIENT_TLS_KEY CONFIG_GRPC_XDS_SERVER_TLS_CACERT CONFIG_GRPC_XDS_SERVER_TLS_SAN
			XDS_CLIENT_BACKOFF_INITIAL_INTERVAL XDS_CLIENT_BACKOFF_MAX_INTERVAL XDS_CLIENT_BACKOFF_RANDOM_FACTOR XDS_CLIENT_BACKOFF_JITTER
			XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES`),
	},
	{
		hint:  "the service starts with the configuration that is there, and one that is broken doesn't take its place",
		names: words("FORCE_START_WITHOUT_INITIAL_CONFIG HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED"),
	},
	{
		hint:  "files whose names begin with a dot are not read, and changes are seen either way",
		names: words("RUNTIME_IGNOREDOTFILES RUNTIME_WATCH_ROOT"),
	},
	{
		hint:   "metrics are served for Prometheus, at the address of --metrics; docs/metrics.md names them",
		prefix: "DOG_STATSD_MOGRIFIER_",
		names: words(`USE_STATSD STATSD_HOST STATSD_PORT USE_DOG_STATSD USE_DOG_STATSD_MOGRIFIERS USE_PROMETHEUS PROMETHEUS_ADDR PROMETHEUS_PATH
			PROMETHEUS_MAPPER_YAML PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS EXTRA_TAGS STATS_FLUSH_INTERVAL DISABLE_STATS NEAR_LIMIT_RATIO`),
	},
	{
		hint: "buckets are kept in the process, or in DynamoDB by --stack and --region",
		names: words(`BACKEND_TYPE CACHE_KEY_PREFIX EXPIRATION_JITTER_MAX_SECONDS REDIS_PERSECOND REDIS_HEALTH_CHECK_ACTIVE_CONNECTION
			REDIS_SOCKET_TYPE REDIS_TYPE REDIS_URL REDIS_POOL_SIZE REDIS_AUTH REDIS_TLS REDIS_SENTINEL_AUTH REDIS_PIPELINE_WINDOW REDIS_PIPELINE_LIMIT
			REDIS_CLUSTER_PIPELINE_PARALLELISM REDIS_TIMEOUT REDIS_POOL_ON_EMPTY_BEHAVIOR REDIS_POOL_ON_EMPTY_WAIT_DURATION
			REDIS_PERSECOND_SOCKET_TYPE REDIS_PERSECOND_TYPE REDIS_PERSECOND_URL REDIS_PERSECOND_POOL_SIZE REDIS_PERSECOND_AUTH REDIS_PERSECOND_TLS
			REDIS_PERSECOND_SENTINEL_AUTH REDIS_PERSECOND_PIPELINE_WINDOW REDIS_PERSECOND_PIPELINE_LIMIT REDIS_PERSECOND_CLUSTER_PIPELINE_PARALLELISM
			REDIS_PERSECOND_TIMEOUT REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR REDIS_PERSECOND_POOL_ON_EMPTY_WAIT_DURATION
			REDIS_TLS_CLIENT_CERT REDIS_TLS_CLIENT_KEY REDIS_TLS_CACERT REDIS_TLS_SKIP_HOSTNAME_VERIFICATION
			REDIS_STARTUP_INITIAL_INTERVAL REDIS_STARTUP_MAX_INTERVAL REDIS_STARTUP_MAX_ELAPSED_TIME
			MEMCACHE_HOST_PORT MEMCACHE_SRV MEMCACHE_SRV_REFRESH MEMCACHE_MAX_IDLE_CONNS MEMCACHE_TLS MEMCACHE_TLS_CLIENT_CERT
			MEMCACHE_TLS_CLIENT_KEY MEMCACHE_TLS_CACERT MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION`),
	},
	{
		hint:  "`charge.rejections` in the file of --config bounds what is remembered of exceeded limits",
		names: words("LOCAL_CACHE_SIZE_IN_BYTES"),
	},
	{
		hint:  "a request that is denied charges nothing in the bucket that denies it, always",
		names: words("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT"),
	},
	{
		hint:  "answers have dynamic metadata, unless `dynamic_metadata: false` is in the file of --config",
		names: words("RESPONSE_DYNAMIC_METADATA"),
	},
	{
		hint: "there is no tracing; metrics have how long decisions take",
		names: words(`TRACING_ENABLED TRACING_SERVICE_NAME TRACING_SERVICE_NAMESPACE TRACING_SERVICE_INSTANCE_ID TRACING_EXPORTER_PROTOCOL
			TRACING_SAMPLING_RATE`),
		prefix: "OTEL_",
	},
}

func words(s string) []string { return strings.Fields(s) }
