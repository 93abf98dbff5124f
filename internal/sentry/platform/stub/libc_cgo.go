//go:build cgo

package stub

// cgo says that the sentry is linked with the C library.
const cgo = true
