// Package integration holds the black-box tests: the built binary, a real Envoy
// and a backend, on loopback. They know the service by its configuration file,
// its ports and its answers; of this module they import integration/harness, and
// internal/ddblocal for a table.
//
// They have the build tag integration and are run by `make test`. They read
//
//   - EXTAUTHZ_BIN: the binary under test; when unset, it is built first;
//   - EXTAUTHZ_TOOLS: the folder that `make tools` filled, .tools when unset.
//     Without an Envoy there the tests are skipped, with CI or EXTAUTHZ_TOOLS
//     set they fail;
//   - EXTAUTHZ_TEST_ENVOY: oldest, for the oldest Envoy that is supported, which
//     the core of the tests passes (the Makefile names it);
//   - EXTAUTHZ_TEST_STORE: embedded (the default) or dynamodb, where the services
//     keep their buckets;
//   - EXTAUTHZ_TEST_LONG: more rounds.
//
// Start reading at world_test.go.
package integration
