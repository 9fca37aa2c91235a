package launch

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"rexec-guest/internal/fault"
)

// Pipe has one end for us, which can wait without holding a thread, and one that blocks as a process expects it.
type Pipe struct {
	Ours   *os.File
	Theirs int
	Held   bool // someone else still holds their end after the command's own end
}

// NewPipe makes a pipe to read from, or to write to.
func NewPipe(weRead bool) (*Pipe, error) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return nil, Files(err)
	}
	ours, theirs := ends[0], ends[1]
	if !weRead {
		ours, theirs = theirs, ours
	}
	_ = syscall.SetNonblock(ours, true)
	return &Pipe{Ours: os.NewFile(uintptr(ours), "pipe"), Theirs: theirs}, nil
}

// Files says what a failure to get a descriptor means.
func Files(err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return fault.New(503, "too_busy", "no more files can be opened")
	}
	return err
}

// CloseTheirs closes the end that the process has by now.
func (p *Pipe) CloseTheirs() {
	if p != nil && p.Theirs >= 0 {
		_ = syscall.Close(p.Theirs)
		p.Theirs = -1
	}
}

// Close closes both ends.
func (p *Pipe) Close() {
	if p != nil {
		p.CloseTheirs()
		_ = p.Ours.Close()
	}
}

var null = sync.OnceValue(func() uintptr {
	fd, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		// An image without /dev/null: a pipe whose other end is closed reads as empty too.
		var ends [2]int
		if syscall.Pipe2(ends[:], syscall.O_CLOEXEC) != nil {
			return 0
		}
		_ = syscall.Close(ends[1])
		fd = ends[0]
	}
	return uintptr(fd)
})

// Null is a file without content.
func Null() uintptr { return null() }
