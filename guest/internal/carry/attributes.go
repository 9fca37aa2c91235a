package carry

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"

	"rexec-guest/internal/folder"
)

// Attributes copies the extended attributes that begin with a prefix, access lists among them. Those that the other file
// system does not know, or that the container may not set, stay behind, as with mv.
func Attributes(from, to *os.File, prefixes ...string) error {
	source, target := folder.Itself(from), folder.Itself(to)
	names, err := whole(func(space []byte) (int, error) { return syscall.Listxattr(source, space) })
	if err != nil {
		return lenient(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		value, err := whole(func(space []byte) (int, error) { return syscall.Getxattr(source, name, space) })
		if err == nil {
			err = syscall.Setxattr(target, name, value, 0)
		}
		if err := lenient(err); err != nil {
			return err
		}
	}
	return nil
}

func lenient(err error) error {
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENODATA) {
		return nil
	}
	return err
}

// whole reads what has no fixed size.
func whole(read func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := read(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		space := make([]byte, size)
		count, err := read(space)
		if !errors.Is(err, syscall.ERANGE) {
			return space[:max(count, 0)], err
		}
	}
}
