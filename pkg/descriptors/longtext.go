package descriptors

import (
	"crypto/sha256"
	"encoding/hex"
)

// maxText is how much of a text expressions see, in bytes.
const maxText = 4096

// maxCapped is the longest text that expressions see, in bytes.
const maxCapped = maxText + 1 + 2*sha256.Size

// capped is what expressions see of a text: all of it up to maxText bytes, else
// its beginning and its hash. Different texts stay different, because none of
// more than maxText bytes is seen as it is.
func capped(s string) string {
	if len(s) <= maxText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:maxText] + "~" + hex.EncodeToString(sum[:])
}

// hashDigits is how long a hash is that rules make.
const hashDigits = 32

// shortHash is the function sha256 of rules: the first 16 bytes of a text's
// SHA-256, as 32 digits in lower case.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:hashDigits/2])
}

// hashOfRead is shortHash of all of a text, from what expressions see of it. It
// is for texts that lie in the request as they are: one that an expression put
// together may only look as if it were cut off.
func hashOfRead(s string) string {
	if len(s) == maxCapped {
		return s[maxText+1:][:hashDigits]
	}
	return shortHash(s)
}
