// SPDX-License-Identifier: GPL-2.0

// The bank in Go, by cgo and <stm/tx.h>.
//
//	bank REGION transfer SEED    moves money for ever
//	bank REGION audit N          adds all of it up N times; fails if a sum is wrong
package main

// #cgo LDFLAGS: -lstm
// #include <stdlib.h>
// #include <stm/tx.h>
import "C"

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

const (
	accounts = 64
	each     = 1000
	counter  = 4112 // transfers that programs of this language have made
)

// Its body has to be left; the commit tells whether it runs again.
var errLeft = errors.New("the transaction has to be left")

type region struct{ handle *C.stm_region }

type transaction struct {
	tx     *C.stm_tx
	region region
}

func open(name string) (region, error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	handle, err := C.stm_region_open(text, 0, 0, 0)
	if handle == nil {
		return region{}, err
	}
	return region{handle}, nil
}

func (tx transaction) load(offset int) (int64, error) {
	var value int64
	to := unsafe.Pointer(&value)
	if C.stm_tx_load(tx.tx, tx.region.handle, C.uint64_t(offset), to, 8) != 0 {
		return 0, errLeft
	}
	return value, nil
}

func (tx transaction) store(offset int, value int64) error {
	from := unsafe.Pointer(&value)
	if C.stm_tx_store(tx.tx, tx.region.handle, C.uint64_t(offset), from, 8) != 0 {
		return errLeft
	}
	return nil
}

func (tx transaction) add(offset int, amount int64) error {
	value, err := tx.load(offset)
	if err != nil {
		return err
	}
	return tx.store(offset, value+amount)
}

// Runs the body as a whole or not at all. It may run more than once. A transaction belongs to a
// thread of the system, so the goroutine stays on its thread meanwhile.
func (r region) atomically(flags int, body func(transaction) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		tx, err := C.stm_tx_begin(r.handle, C.int(flags))
		if tx == nil {
			return err
		}
		for {
			left := body(transaction{tx, r})
			if left != nil && left != errLeft {
				C.stm_tx_cancel(tx)
				return left
			}
			ended, err := C.stm_tx_commit(tx)
			if ended == 0 {
				return nil
			}
			if ended < 0 {
				// A signal of the runtime's own may have ended a wait.
				if err == syscall.EINTR {
					break
				}
				return err
			}
		}
	}
}

func transferForEver(bank region, seed int64) error {
	numbers := rand.New(rand.NewSource(seed))
	for {
		from, to := 8*numbers.Intn(accounts), 8*numbers.Intn(accounts)
		amount := int64(numbers.Intn(100))
		err := bank.atomically(0, func(tx transaction) error {
			there, err := tx.load(from)
			if err != nil || there < amount {
				return err
			}
			if err := tx.store(from, there-amount); err != nil {
				return err
			}
			if err := tx.add(to, amount); err != nil {
				return err
			}
			return tx.add(counter, 1)
		})
		if err != nil {
			return err
		}
	}
}

func audit(bank region) error {
	var total int64
	err := bank.atomically(C.STM_TX_READ_ONLY, func(tx transaction) error {
		total = 0
		for account := 0; account < accounts; account++ {
			balance, err := tx.load(8 * account)
			if err != nil {
				return err
			}
			total += balance
		}
		return nil
	})
	if err == nil && total != accounts*each {
		err = fmt.Errorf("the sum is %d", total)
	}
	return err
}

func run() error {
	bank, err := open(os.Args[1])
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(os.Args[3])
	if err != nil {
		return err
	}
	if os.Args[2] == "transfer" {
		// Several goroutines, which the runtime moves between threads.
		for more := 1; more < 3; more++ {
			go transferForEver(bank, int64(number+1000*more))
		}
		return transferForEver(bank, int64(number))
	}
	for ; number > 0; number-- {
		if err := audit(bank); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bank.go:", err)
		os.Exit(1)
	}
}
