// Package caller says who runs this process, for the audit of what it changes.
//
// It imports the standard library alone; OS is all there is.
package caller

import (
	"fmt"
	"os"
	"os/user"
)

// OS is the caller as the operating system knows it.
func OS() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return "os:" + name
	}
	return "os:" + name + "@" + host
}
