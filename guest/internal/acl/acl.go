// Package acl lets a second account into a directory whoever creates what in it: POSIX default access lists.
package acl

import (
	"encoding/binary"
	"syscall"
)

const (
	inherit = "system.posix_acl_default"
	version = 2
	nobody  = 0xffffffff
)

// entry is one line of a list: what (its tag), how much, for whom.
type entry struct {
	tag, permissions uint16
	id               uint32
}

func pack(entries []entry) []byte {
	packed := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range entries {
		packed = binary.LittleEndian.AppendUint16(packed, e.tag)
		packed = binary.LittleEndian.AppendUint16(packed, e.permissions)
		packed = binary.LittleEndian.AppendUint32(packed, e.id)
	}
	return packed
}

// Share gives the account all rights to what is created in the directory from now on. Where the file system has no
// lists, nothing changes; a directory that has a list already keeps it.
func Share(directory string, uid uint32) {
	if Shared(directory) {
		return
	}
	list := []entry{
		{0x01, 7, nobody}, // the owner
		{0x02, 7, uid},
		{0x04, 5, nobody}, // the owner's group
		{0x10, 7, nobody}, // the mask
		{0x20, 5, nobody}, // all others
	}
	_ = syscall.Setxattr(directory, inherit, pack(list), 0)
}

// Shared tells whether what is created in the directory inherits a list.
func Shared(directory string) bool {
	size, err := syscall.Getxattr(directory, inherit, nil)
	return err == nil && size > 0
}

// Mode is that of something new in the directory for which none was asked: a list is masked by the group's part.
func Mode(directory string, mode uint32) uint32 {
	if Shared(directory) {
		return mode | mode>>3&0o070
	}
	return mode
}
