// Package ports tells what listens in the container and carries connections to it.
package ports

import (
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/proc"
)

// Port is a listening TCP socket.
type Port struct {
	Port    int    `json:"port"`
	Address string `json:"address"`
	Family  string `json:"family"`
	Process string `json:"process,omitempty"`
	Pid     int    `json:"pid,omitempty"`
	User    string `json:"user,omitempty"`
	inode   string
}

const (
	listening = "0A"
	mostPorts = 10_000
	// engineDNS is where Docker's own name server listens inside the network of every container.
	engineDNS = "127.0.0.11"
)

// List is all listening TCP sockets, by port.
func List() []Port {
	found := append(table("/proc/net/tcp", "ipv4"), table("/proc/net/tcp6", "ipv6")...)
	owners(found)
	sort.Slice(found, func(i, j int) bool {
		if found[i].Port != found[j].Port {
			return found[i].Port < found[j].Port
		}
		return found[i].Address < found[j].Address
	})
	return found
}

func table(path, family string) []Port {
	found := []Port{}
	data, err := os.ReadFile(path)
	if err != nil {
		return found
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[3] != listening || len(found) >= mostPorts {
			continue
		}
		address, port, ok := parse(fields[1])
		if !ok || address == engineDNS {
			continue
		}
		p := Port{Port: port, Address: address, Family: family, inode: fields[9]}
		if uid, err := strconv.ParseUint(fields[7], 10, 32); err == nil {
			p.User = accounts.UserName(uint32(uid))
		}
		found = append(found, p)
	}
	return found
}

// parse reads `0100007F:1F90`: words of four bytes in the order of the machine, which is little-endian on all of ours.
func parse(text string) (string, int, bool) {
	host, portText, ok := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(host)
	port, err2 := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil || err2 != nil || len(bytes)%4 != 0 {
		return "", 0, false
	}
	for i := 0; i+4 <= len(bytes); i += 4 {
		slices.Reverse(bytes[i : i+4])
	}
	address, ok := netip.AddrFromSlice(bytes)
	return address.Unmap().String(), int(port), ok
}

// owners finds the processes by their descriptors.
func owners(found []Port) {
	if len(found) == 0 {
		return
	}
	wanted := map[string][]*Port{}
	for i := range found {
		link := "socket:[" + found[i].inode + "]"
		wanted[link] = append(wanted[link], &found[i])
	}
	for _, p := range proc.List() {
		dir := "/proc/" + strconv.Itoa(p.Pid) + "/fd"
		names, err := names(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			link, err := os.Readlink(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			for _, port := range wanted[link] {
				if port.Pid == 0 {
					port.Pid, port.Process = p.Pid, p.Name()
				}
			}
		}
	}
}

func names(dir string) ([]string, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}
