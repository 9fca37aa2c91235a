package folder

import "syscall"

const mostLinked = 100_000

// Inode is a file of this machine, whatever its names.
type Inode struct{ device, number uint64 }

// InodeOf tells which file was looked at.
func InodeOf(info *syscall.Stat_t) Inode { return Inode{uint64(info.Dev), info.Ino} }

// Linked holds the first name of each file that has several; of a bounded number of them, whose others are then files
// of their own.
type Linked map[Inode]string

// First is the name that the file was met under before. If there is none, this one is from now on.
func (l Linked) First(info *syscall.Stat_t, name string) (string, bool) {
	first, known := l[InodeOf(info)]
	if !known && len(l) < mostLinked {
		l[InodeOf(info)] = name
	}
	return first, known
}
