;; A counter and a relay in one module of the format `wasm32-weft-plain`.
;;
;; What it does is decided by the message's tag `Action`:
;;
;;   Increment   adds 1 to the counter; Output is the new count
;;   Relay       sends one message with the tag Action=Increment to the process in the tag `To`
;;   Spawn       spawns a process with the tags Module, Scheduler, Compute and Compute-Quorum of the
;;               message, and with its Child-Action as Action
;;   Spawned     sends an Increment to the process in the tag `Process`
;;   Fail        adds 1 to the counter and then returns an error, so the count must be rolled back
;;   Loop        never returns, so the gas must end it
;;   otherwise   Output is the count
;;
;; A process that another one spawned, with no Action or with Spawn, begins by sending an
;; Increment to its parent.
;;
;; Tags are looked for as the text `{"name":"Action","value":"` in the message. In a JSON string
;; every quote is escaped, so only a real tag can match.
;;
;; Memory: 0 count (i64), 8 entries sent (i64), 16 digits, 1024 texts, 4096 results and then
;; arguments. Only the first two last from message to message.
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 8192))

  (data (i32.const 1024) "{\22name\22:\22Action\22,\22value\22:\22")      ;; 26 bytes
  (data (i32.const 1056) "{\22name\22:\22To\22,\22value\22:\22")          ;; 22 bytes
  (data (i32.const 1088) "Increment\22")                                 ;; 10 bytes
  (data (i32.const 1104) "Relay\22")                                     ;; 6 bytes
  (data (i32.const 1112) "Fail\22")                                      ;; 5 bytes
  (data (i32.const 1120) "Loop\22")                                      ;; 5 bytes
  (data (i32.const 1152) "{\22ok\22:true,\22response\22:{\22Output\22:\22") ;; 33 bytes
  (data (i32.const 1200) "\22,\22Messages\22:[")                         ;; 14 bytes
  (data (i32.const 1232) "],\22Spawns\22:[")                             ;; 12 bytes
  (data (i32.const 1248) "],\22Assignments\22:[]}}")                     ;; 20 bytes
  (data (i32.const 1280) "{\22Target\22:\22")                            ;; 11 bytes
  (data (i32.const 1296) "\22,\22Data\22:\22\22,\22Anchor\22:\22")       ;; 22 bytes
  (data (i32.const 1328) "\22,\22Tags\22:[{\22name\22:\22Action\22,\22value\22:\22Increment\22}]}") ;; 49 bytes
  (data (i32.const 1392) "{\22ok\22:false,\22response\22:\22counter: failed as asked\22}") ;; 50 bytes

  (data (i32.const 1536) "{\22name\22:\22Module\22,\22value\22:\22")      ;; 26 bytes
  (data (i32.const 1568) "{\22name\22:\22Scheduler\22,\22value\22:\22")   ;; 29 bytes
  (data (i32.const 1600) "{\22name\22:\22Compute\22,\22value\22:\22")     ;; 27 bytes
  (data (i32.const 1632) "{\22name\22:\22Compute-Quorum\22,\22value\22:\22") ;; 34 bytes
  (data (i32.const 1680) "{\22name\22:\22Child-Action\22,\22value\22:\22") ;; 32 bytes
  (data (i32.const 1712) "{\22name\22:\22Process\22,\22value\22:\22")     ;; 27 bytes
  (data (i32.const 1744) "{\22name\22:\22From-Process\22,\22value\22:\22") ;; 32 bytes
  (data (i32.const 1776) "{\22name\22:\22Type\22,\22value\22:\22Process\22") ;; 32 bytes
  (data (i32.const 1808) "Spawn\22")                                     ;; 6 bytes
  (data (i32.const 1816) "Spawned\22")                                   ;; 8 bytes
  (data (i32.const 1824) "\22},")                                        ;; 3 bytes
  (data (i32.const 1840) "{\22Data\22:\22\22,\22Anchor\22:\22")         ;; 21 bytes
  (data (i32.const 1872) "\22,\22Tags\22:[")                             ;; 10 bytes
  (data (i32.const 1888) "{\22name\22:\22App-Name\22,\22value\22:\22counter\22}]}") ;; 39 bytes

  ;; Room for `bytes` more bytes; the global starts anew with every message.
  (func (export "alloc") (param $bytes i32) (result i32)
    (local $at i32) (local $end i64)
    (local.set $at (global.get $free))
    (local.set $end (i64.add (i64.extend_i32_u (local.get $at)) (i64.extend_i32_u (local.get $bytes))))
    (if (i64.gt_u (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
      (then
        (if (i32.eq (i32.const -1) (memory.grow
              (i32.wrap_i64 (i64.shr_u
                (i64.add (i64.const 65535)
                  (i64.sub (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
                (i64.const 16)))))
          (then (unreachable)))))
    (global.set $free (i32.wrap_i64 (local.get $end)))
    (local.get $at))

  ;; Whether `length` bytes at the two addresses are the same.
  (func $same (param $a i32) (param $b i32) (param $length i32) (result i32)
    (local $i i32)
    (block $differ
      (loop $next
        (if (i32.eq (local.get $i) (local.get $length)) (then (return (i32.const 1))))
        (br_if $differ
          (i32.ne (i32.load8_u (i32.add (local.get $a) (local.get $i)))
                  (i32.load8_u (i32.add (local.get $b) (local.get $i)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; The address behind the first `needle` in the text, or 0.
  (func $find (param $text i32) (param $length i32) (param $needle i32) (param $needle_length i32)
    (result i32)
    (local $last i32)
    (if (i32.lt_u (local.get $length) (local.get $needle_length)) (then (return (i32.const 0))))
    (local.set $last
      (i32.add (local.get $text) (i32.sub (local.get $length) (local.get $needle_length))))
    (loop $next
      (if (call $same (local.get $text) (local.get $needle) (local.get $needle_length))
        (then (return (i32.add (local.get $text) (local.get $needle_length)))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $text) (local.get $last))))
    (i32.const 0))

  ;; Copies bytes and gives the address behind the copy.
  (func $put (param $to i32) (param $from i32) (param $length i32) (result i32)
    (memory.copy (local.get $to) (local.get $from) (local.get $length))
    (i32.add (local.get $to) (local.get $length)))

  ;; Writes a number with at least `digits` digits and gives the address behind it.
  (func $number (param $to i32) (param $value i64) (param $digits i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 80))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))))
      (local.set $value (i64.div_u (local.get $value) (i64.const 10)))
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (br_if $next
        (i32.or (i32.gt_s (local.get $digits) (i32.const 0)) (i64.ne (local.get $value) (i64.const 0)))))
    (call $put (local.get $to) (local.get $at) (i32.sub (i32.const 80) (local.get $at))))

  (func $increment
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1))))

  ;; Copies a value that begins at `from`, up to its quote, `end` or 512 bytes.
  (func $value (param $to i32) (param $from i32) (param $end i32) (result i32)
    (local $last i32)
    (local.set $last (local.get $from))
    (block $quote
      (loop $next
        (br_if $quote (i32.ge_u (local.get $last) (local.get $end)))
        (br_if $quote (i32.ge_u (i32.sub (local.get $last) (local.get $from)) (i32.const 512)))
        (br_if $quote (i32.eq (i32.load8_u (local.get $last)) (i32.const 34)))
        (local.set $last (i32.add (local.get $last) (i32.const 1)))
        (br $next)))
    (call $put (local.get $to) (local.get $from) (i32.sub (local.get $last) (local.get $from))))

  ;; Writes the anchor of the next outbox entry: how many there were, with 32 digits.
  (func $anchor (param $to i32) (result i32)
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (call $number (local.get $to) (i64.load (i32.const 8)) (i32.const 32)))

  ;; Writes the outbox message to the process whose name begins at `name`, before `end`.
  (func $message (param $to i32) (param $name i32) (param $end i32) (result i32)
    (local.set $to (call $put (local.get $to) (i32.const 1280) (i32.const 11)))
    (local.set $to (call $value (local.get $to) (local.get $name) (local.get $end)))
    (local.set $to (call $put (local.get $to) (i32.const 1296) (i32.const 22)))
    (local.set $to (call $anchor (local.get $to)))
    (call $put (local.get $to) (i32.const 1328) (i32.const 49)))

  ;; Copies the tag of the message that `needle` is the beginning of, if there is one, as the tag
  ;; that `head` is the beginning of.
  (func $copy_tag (param $to i32) (param $text i32) (param $length i32)
    (param $needle i32) (param $needle_length i32) (param $head i32) (param $head_length i32)
    (result i32)
    (local $from i32)
    (local.set $from
      (call $find (local.get $text) (local.get $length) (local.get $needle) (local.get $needle_length)))
    (if (i32.eqz (local.get $from)) (then (return (local.get $to))))
    (local.set $to (call $put (local.get $to) (local.get $head) (local.get $head_length)))
    (local.set $to
      (call $value (local.get $to) (local.get $from) (i32.add (local.get $text) (local.get $length))))
    (call $put (local.get $to) (i32.const 1824) (i32.const 3)))

  ;; Copies a tag of the message under its own name.
  (func $same_tag (param $to i32) (param $text i32) (param $length i32)
    (param $name i32) (param $name_length i32) (result i32)
    (call $copy_tag (local.get $to) (local.get $text) (local.get $length)
      (local.get $name) (local.get $name_length) (local.get $name) (local.get $name_length)))

  ;; Writes the spawn that the message asks for.
  (func $spawn (param $to i32) (param $text i32) (param $length i32) (result i32)
    (local.set $to (call $put (local.get $to) (i32.const 1840) (i32.const 21)))
    (local.set $to (call $anchor (local.get $to)))
    (local.set $to (call $put (local.get $to) (i32.const 1872) (i32.const 10)))
    (local.set $to
      (call $same_tag (local.get $to) (local.get $text) (local.get $length) (i32.const 1536) (i32.const 26)))
    (local.set $to
      (call $same_tag (local.get $to) (local.get $text) (local.get $length) (i32.const 1568) (i32.const 29)))
    (local.set $to
      (call $same_tag (local.get $to) (local.get $text) (local.get $length) (i32.const 1600) (i32.const 27)))
    (local.set $to
      (call $same_tag (local.get $to) (local.get $text) (local.get $length) (i32.const 1632) (i32.const 34)))
    (local.set $to
      (call $copy_tag (local.get $to) (local.get $text) (local.get $length)
        (i32.const 1680) (i32.const 32) (i32.const 1024) (i32.const 26)))
    (call $put (local.get $to) (i32.const 1888) (i32.const 39)))

  ;; A result of `length` bytes at 4096.
  (func $result (param $length i32) (result i64)
    (i64.or (i64.shl (i64.const 4096) (i64.const 32)) (i64.extend_i32_u (local.get $length))))

  (func (export "handle") (param $text i32) (param $length i32) (param $env i32) (param $env_length i32)
    (result i64)
    (local $action i32) (local $to i32) (local $at i32) (local $spawns i32)
    (local.set $action (call $find (local.get $text) (local.get $length) (i32.const 1024) (i32.const 26)))
    (if (local.get $action)
      (then
        (if (call $same (local.get $action) (i32.const 1088) (i32.const 10)) (then (call $increment)))
        (if (call $same (local.get $action) (i32.const 1120) (i32.const 5)) (then (loop $ever (br $ever))))
        (if (call $same (local.get $action) (i32.const 1112) (i32.const 5))
          (then
            (call $increment)
            (drop (call $put (i32.const 4096) (i32.const 1392) (i32.const 50)))
            (return (call $result (i32.const 50)))))
        (if (call $same (local.get $action) (i32.const 1104) (i32.const 6))
          (then
            (local.set $to
              (call $find (local.get $text) (local.get $length) (i32.const 1056) (i32.const 22)))))
        (if (call $same (local.get $action) (i32.const 1816) (i32.const 8))
          (then
            (local.set $to
              (call $find (local.get $text) (local.get $length) (i32.const 1712) (i32.const 27)))))
        (local.set $spawns (call $same (local.get $action) (i32.const 1808) (i32.const 6)))))
    (if (i32.or (i32.eqz (local.get $action)) (local.get $spawns))
      (then
        (if (call $find (local.get $text) (local.get $length) (i32.const 1776) (i32.const 32))
          (then
            (local.set $to
              (call $find (local.get $text) (local.get $length) (i32.const 1744) (i32.const 32)))))))
    (local.set $at (call $put (i32.const 4096) (i32.const 1152) (i32.const 33)))
    (local.set $at (call $number (local.get $at) (i64.load (i32.const 0)) (i32.const 1)))
    (local.set $at (call $put (local.get $at) (i32.const 1200) (i32.const 14)))
    (if (local.get $to)
      (then
        (local.set $at
          (call $message (local.get $at) (local.get $to) (i32.add (local.get $text) (local.get $length))))))
    (local.set $at (call $put (local.get $at) (i32.const 1232) (i32.const 12)))
    (if (local.get $spawns)
      (then (local.set $at (call $spawn (local.get $at) (local.get $text) (local.get $length)))))
    (local.set $at (call $put (local.get $at) (i32.const 1248) (i32.const 20)))
    (call $result (i32.sub (local.get $at) (i32.const 4096)))))
