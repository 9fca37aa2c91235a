// Package extent tells the data of a file from its holes.
package extent

import (
	"errors"
	"os"
	"syscall"
)

const (
	seekData = 3
	seekHole = 4
)

// Extent is a run of data: from the first byte to the one behind its last.
type Extent struct{ From, To int64 }

// Next is the first run of data at or behind an offset of a file of that size; an empty one at the size where only a hole
// is left. A file system that knows no holes has one run.
func Next(file *os.File, offset, size int64) (Extent, error) {
	if offset >= size {
		return Extent{size, size}, nil
	}
	from, err := file.Seek(offset, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return Extent{size, size}, nil
	}
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) {
		return Extent{offset, size}, nil
	}
	if err != nil {
		return Extent{}, err
	}
	to, err := file.Seek(from, seekHole)
	if err != nil {
		return Extent{}, err
	}
	return Extent{min(from, size), min(to, size)}, nil
}

// All is all runs of data; beyond the most, the rest of the file counts as one.
func All(file *os.File, size int64, most int) ([]Extent, error) {
	var found []Extent
	for offset := int64(0); ; {
		next, err := Next(file, offset, size)
		if err != nil || next.From == size {
			return found, err
		}
		if len(found) == most-1 {
			return append(found, Extent{next.From, size}), nil
		}
		found = append(found, next)
		offset = next.To
	}
}

// Hollow tells of a file whether it takes less room than it is long.
func Hollow(info *syscall.Stat_t) bool { return info.Blocks*512 < info.Size }
