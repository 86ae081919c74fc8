package meter

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Resident is how many bytes of memory a process holds now.
func Resident(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(statm)) // in pages: size, resident, ...
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm is %q", pid, statm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
