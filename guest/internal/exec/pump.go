package exec

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// rest is the most that is read of a pipe after its command ended and the time for it passed: what a pipe can hold.
const rest = 1 << 20

// pump hands over what comes out of a file until its end, or until its deadline passed and what it held is read. It says
// whether that was the end.
func pump(source *os.File, take func([]byte) error) bool {
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	for {
		count, err := source.Read(buffer[:])
		if count > 0 && take(buffer[:count]) != nil {
			return true
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			remainder(source, buffer[:], take)
			return false
		}
		if err != nil {
			return true
		}
	}
}

// mostDrains is how many pipes are read for nobody, so that a daemon that still writes to one is not killed by that.
const mostDrains = 256

var drains = make(chan struct{}, mostDrains)

// drain reads a file until its end and closes it.
func drain(source *os.File) {
	select {
	case drains <- struct{}{}:
	default:
		_ = source.Close()
		return
	}
	go func() {
		defer func() { <-drains }()
		defer source.Close()
		_ = source.SetReadDeadline(time.Time{})
		buffer := make([]byte, 512)
		for {
			if _, err := source.Read(buffer); err != nil {
				return
			}
		}
	}()
}

func remainder(source *os.File, buffer []byte, take func([]byte) error) {
	raw, err := source.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < rest; {
		count := 0
		err := raw.Control(func(fd uintptr) { count, _ = syscall.Read(int(fd), buffer) })
		if err != nil || count <= 0 || take(buffer[:count]) != nil {
			return
		}
		total += count
	}
}
