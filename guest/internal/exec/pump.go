package exec

import (
	"errors"
	"os"
	"syscall"
)

// rest is the most that is read of a pipe after its command ended and the time for it passed: what a pipe can hold.
const rest = 1 << 20

// pump hands over what comes out of a file until its end, or until its deadline passed and what it held is read.
func pump(source *os.File, take func([]byte) error) {
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	for {
		count, err := source.Read(buffer[:])
		if count > 0 && take(buffer[:count]) != nil {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			remainder(source, buffer[:], take)
			return
		}
		if err != nil {
			return
		}
	}
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
