// SPDX-License-Identifier: MIT

// What does GOMEMLIMIT cost, and does it hold? The same program as ramp.c: the same work from the same random
// numbers, the same lines. A block is a byte slice without pointers whose size stands at its front; freeing
// one is forgetting it. The array of the blocks is a variable of the program and not part of Go's heap.
//
// The quantity is that of runtime/metrics, /memory/classes/total less /memory/classes/heap/released. Reading
// it does not stop the world, as runtime.ReadMemStats would.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	seed       = 0x68616c6c6f63
	mibBytes   = 1 << 20
	mostBlocks = 2 * 1024 * 1024
	smallest   = 64
	cacheLine  = 64
	osPage     = 4096
	patience   = 5 * time.Second
)

var (
	operations, mib, size, keep, fill, seconds uint64

	blocks     [mostBlocks]*byte
	blockCount uint64
	live       uint64
)

// The octaves that new blocks are drawn from.
type octaves struct{ first, count uint64 }

var allOctaves = octaves{0, 7}

// ---- Random numbers, as in bench.h ----

var (
	start uint64 = seed
	dice         = start*0x9e3779b97f4a7c15 | 1
)

func below(limit uint64) uint64 {
	x := dice
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	dice = x
	return ((x * 0x2545f4914f6cdd1d) >> 32) * limit >> 32
}

func randomSize(from octaves) uint64 {
	least := uint64(smallest) << (from.first + below(from.count))
	return least + below(least)
}

// ---- The sampler ----

var largest, samples atomic.Uint64

func read(names ...string) []metrics.Sample {
	set := make([]metrics.Sample, len(names))
	for i, name := range names {
		set[i].Name = name
	}
	metrics.Read(set)
	return set
}

func limitedNow() uint64 {
	set := read("/memory/classes/total:bytes", "/memory/classes/heap/released:bytes")
	return set[0].Value.Uint64() - set[1].Value.Uint64()
}

func sample() {
	for range time.Tick(time.Millisecond) {
		now := limitedNow()
		if seen := largest.Load(); now > seen {
			largest.CompareAndSwap(seen, now)
		}
		samples.Add(1)
	}
}

func resetSampler() {
	largest.Store(0)
	samples.Store(0)
}

// ---- Blocks ----

func addBlock(bytes uint64) {
	if blockCount == mostBlocks {
		die("more than %d blocks", mostBlocks)
	}
	block := make([]byte, bytes)
	for i := uint64(0); i < bytes; i += cacheLine {
		block[i] = byte(bytes)
	}
	*(*uint64)(unsafe.Pointer(&block[0])) = bytes
	blocks[blockCount] = &block[0]
	blockCount++
	live += bytes
}

func freeBlock(index uint64) {
	live -= *(*uint64)(unsafe.Pointer(blocks[index]))
	blocks[index] = nil
}

func growTo(bytes uint64, from octaves) uint64 {
	before := blockCount
	for live < bytes {
		addBlock(randomSize(from))
	}
	return blockCount - before
}

// Frees random blocks and fills up to the target again. Returns the blocks allocated, at least `least`.
func churn(least, target uint64, from octaves) (done uint64) {
	for done < least {
		index := below(blockCount)
		freeBlock(index)
		blockCount--
		blocks[index], blocks[blockCount] = blocks[blockCount], nil
		done += growTo(target, from)
	}
	return done
}

// ---- Results ----

func die(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "ramp: "+format+"\n", arguments...)
	os.Exit(1)
}

func rssBytes() uint64 {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		die("%v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Rss:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib * 1024
		}
	}
	return 0
}

func usage() (peakRSS int64, cpu time.Duration) {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Maxrss * 1024, time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func printMemory() {
	peak, _ := usage()
	fmt.Printf(" %d live-bytes %d limited-bytes %d RSS-bytes %d peak-RSS-bytes %d samples\n",
		live, largest.Load(), rssBytes(), peak, samples.Load())
}

func climb(name string, phases ...octaves) {
	for percent := uint64(10); percent <= 80; percent += 10 {
		target := mib * mibBytes * percent / 100
		done := uint64(0)
		resetSampler()
		growTo(target, allOctaves)
		start := time.Now()
		for _, phase := range phases {
			done += churn(operations/uint64(len(phases)), target, phase)
		}
		elapsed := time.Since(start)
		fmt.Printf("BenchmarkLimit%s/live=%d%% %d %.2f ns/op", name, percent, done, float64(elapsed)/float64(done))
		printMemory()
	}
}

// The part of the filled OS pages that keeps at least one block, each staying with the chance 1 / keep.
func heldPart() float64 {
	noneStays := 1.0
	for i := uint64(0); i < max(osPage/size, 1); i++ {
		noneStays *= 1 - 1/float64(keep)
	}
	return 1 - noneStays
}

func refill() {
	bytes := mib * mibBytes * fill / 100
	held := uint64(float64(bytes) * heldPart())
	resetSampler()
	start := time.Now()
	for live < bytes {
		addBlock(size)
	}
	kept := uint64(0)
	for i := uint64(0); i < blockCount; i++ {
		block := blocks[i]
		if below(keep) == 0 {
			blocks[i] = nil
			blocks[kept] = block
			kept++
		} else {
			freeBlock(i)
		}
	}
	blockCount = kept
	for more := uint64(0); held+more < mib*mibBytes*9/10; more += 10 * size {
		addBlock(10 * size)
	}
	fmt.Printf("BenchmarkLimitRefill/size=%d/keep=%d/fill=%d%% 1 %d ns/op %d held-bytes",
		size, keep, fill, time.Since(start).Nanoseconds(), mib*mibBytes*9/10)
	printMemory()
}

func lower() {
	growTo(mib*mibBytes*8/10, allOctaves)
	for kept := blockCount / 4; blockCount > kept; {
		blockCount--
		freeBlock(blockCount) // in the order of allocation, so that whole spans become idle
	}
	limit := mib * mibBytes * 3 / 10
	before := limitedNow()
	resetSampler()
	start := time.Now()
	debug.SetMemoryLimit(int64(limit))
	call := time.Since(start)
	now, elapsed := limitedNow(), time.Since(start)
	for now > limit && elapsed < patience {
		now, elapsed = limitedNow(), time.Since(start)
	}
	reached := 0
	if now <= limit {
		reached = 1
	}
	fmt.Printf("BenchmarkLimitLower 1 %d ns/op %d call-ns", elapsed.Nanoseconds(), call.Nanoseconds())
	fmt.Printf(" %d before-bytes %d after-bytes %d limit-bytes %d reached", before, now, limit, reached)
	printMemory()
}

func over() {
	resetSampler()
	target := mib * mibBytes * 12 / 10
	growTo(target, allOctaves)
	names := []string{"/cpu/classes/scavenge/total:cpu-seconds", "/cpu/classes/gc/total:cpu-seconds"}
	before := read(names...)
	_, cpuBefore := usage()
	start := time.Now()
	done, elapsed := uint64(0), time.Duration(0)
	for elapsed < time.Duration(seconds)*time.Second {
		done += churn(1000, target, allOctaves)
		elapsed = time.Since(start)
	}
	_, cpuAfter := usage()
	after := read(names...)
	share := func(i int) float64 {
		return (after[i].Value.Float64() - before[i].Value.Float64()) * 100 / elapsed.Seconds()
	}
	fmt.Printf("BenchmarkLimitOver %d %.2f ns/op %.1f cpu-%% %.2f release-cpu-%% %.1f gc-cpu-%%", done,
		float64(elapsed)/float64(done), float64(cpuAfter-cpuBefore)*100/float64(elapsed), share(0), share(1))
	printMemory()
}

func main() {
	modes := map[string]func(){
		"ramp":   func() { climb("Ramp", allOctaves) },
		"shift":  func() { climb("Shift", allOctaves, octaves{0, 3}, octaves{4, 3}) },
		"refill": refill, "lower": lower, "over": over,
	}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: ramp {ramp|shift|refill|lower|over} [--option value]...")
		os.Exit(2)
	}
	options := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	options.Uint64Var(&operations, "operations", 4*1000*1000, "blocks replaced at each step of ramp and shift")
	options.Uint64Var(&mib, "mib", 256, "the limit that the work is sized for")
	options.Uint64Var(&size, "size", 1024, "refill: bytes of a block")
	options.Uint64Var(&keep, "keep", 20, "refill: one in so many blocks stays")
	options.Uint64Var(&fill, "fill", 90, "refill: percent of --mib filled at first")
	options.Uint64Var(&seconds, "seconds", 10, "over: how long")
	options.Parse(os.Args[2:])
	fmt.Printf("seed: %#x\n", uint64(seed))
	go sample()
	modes[os.Args[1]]()
}
