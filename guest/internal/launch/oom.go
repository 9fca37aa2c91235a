package launch

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

var protected atomic.Bool

// ProtectSelf asks the kernel to spare the guest when memory runs out, as far as the container may ask.
func ProtectSelf() {
	const own = "/proc/self/oom_score_adj"
	_ = os.WriteFile(own, []byte("-999"), 0)
	text, err := os.ReadFile(own)
	if err != nil {
		return
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	protected.Store(err == nil && value < 0)
}

// levelOOM takes the guest's own protection from a process it started.
func levelOOM(pid int) {
	if protected.Load() {
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("0"), 0)
	}
}
