;; A counter and a relay in one module of the format `wasm32-weft-plain`.
;;
;; What it does is decided by the message's tag `Action`:
;;
;;   Increment   adds 1 to the counter; Output is the new count
;;   Relay       sends one message with the tag Action=Increment to the process in the tag `To`
;;   Fail        adds 1 to the counter and then returns an error, so the count must be rolled back
;;   Loop        never returns, so the gas must end it
;;   otherwise   Output is the count
;;
;; Tags are looked for as the text `{"name":"Action","value":"` in the message. In a JSON string
;; every quote is escaped, so only a real tag can match.
;;
;; Memory: 0 count (i64), 8 messages sent (i64), 16 digits, 1024 texts, 4096 results and then
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
  (data (i32.const 1232) "],\22Spawns\22:[],\22Assignments\22:[]}}")     ;; 32 bytes
  (data (i32.const 1280) "{\22Target\22:\22")                            ;; 11 bytes
  (data (i32.const 1296) "\22,\22Data\22:\22\22,\22Anchor\22:\22")       ;; 22 bytes
  (data (i32.const 1328) "\22,\22Tags\22:[{\22name\22:\22Action\22,\22value\22:\22Increment\22}]}") ;; 49 bytes
  (data (i32.const 1392) "{\22ok\22:false,\22response\22:\22counter: failed as asked\22}") ;; 50 bytes

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

  ;; Writes the outbox message to the process whose name begins at `name`, before `end`.
  (func $message (param $to i32) (param $name i32) (param $end i32) (result i32)
    (local $last i32)
    (local.set $last (local.get $name))
    (block $quote
      (loop $next
        (br_if $quote (i32.ge_u (local.get $last) (local.get $end)))
        (br_if $quote (i32.ge_u (i32.sub (local.get $last) (local.get $name)) (i32.const 128)))
        (br_if $quote (i32.eq (i32.load8_u (local.get $last)) (i32.const 34)))
        (local.set $last (i32.add (local.get $last) (i32.const 1)))
        (br $next)))
    (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
    (local.set $to (call $put (local.get $to) (i32.const 1280) (i32.const 11)))
    (local.set $to
      (call $put (local.get $to) (local.get $name) (i32.sub (local.get $last) (local.get $name))))
    (local.set $to (call $put (local.get $to) (i32.const 1296) (i32.const 22)))
    (local.set $to (call $number (local.get $to) (i64.load (i32.const 8)) (i32.const 32)))
    (call $put (local.get $to) (i32.const 1328) (i32.const 49)))

  ;; A result of `length` bytes at 4096.
  (func $result (param $length i32) (result i64)
    (i64.or (i64.shl (i64.const 4096) (i64.const 32)) (i64.extend_i32_u (local.get $length))))

  (func (export "handle") (param $text i32) (param $length i32) (param $env i32) (param $env_length i32)
    (result i64)
    (local $action i32) (local $to i32) (local $at i32)
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
              (call $find (local.get $text) (local.get $length) (i32.const 1056) (i32.const 22)))))))
    (local.set $at (call $put (i32.const 4096) (i32.const 1152) (i32.const 33)))
    (local.set $at (call $number (local.get $at) (i64.load (i32.const 0)) (i32.const 1)))
    (local.set $at (call $put (local.get $at) (i32.const 1200) (i32.const 14)))
    (if (local.get $to)
      (then
        (local.set $at
          (call $message (local.get $at) (local.get $to) (i32.add (local.get $text) (local.get $length))))))
    (local.set $at (call $put (local.get $at) (i32.const 1232) (i32.const 32)))
    (call $result (i32.sub (local.get $at) (i32.const 4096)))))
