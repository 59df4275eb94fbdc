;; A guest that calls whatever host function its message says: for comparing hosts, format by format.
;;
;; The text behind the first "Data":" of a message is a program for a stack of 32-bit numbers:
;;
;;   1f        push a number (hexadecimal, lower case)
;;   'text'    pop an address, write the text and a zero byte there
;;   W B       pop a value, then an address; store 32 bits, 8 bits
;;   P         pop a value, then an address; store it as a pointer
;;   L         push the length of a pointer
;;   +         pop two numbers, push their sum
;;   R         pop an address, push the 32 bits there
;;   O         pop a number into the output, as eight digits
;;   D         pop a count, then an address; so many numbers from there into the output
;;   S         pop an address, the text there into the output, up to a zero byte
;;   C         pop a number, call the host function with that number in imports.json: its arguments
;;             are popped, the last one first; its result is pushed. Of 64 bits the upper half is
;;             pushed first; of a float, first whether it is not a number, then its whole part
;;   M         push the pages of memory
;;   U         fail with a trap
;;
;; The output is the Output of the result. The first bytes of memory stay free for cookies; from
;; 2,016 on lies what the guest notes of itself, and 2,048 to 4,095 are the program's to use. What stands in {{ }} is filled in for each format by mod.rs.
(module
  {{imports}}
  (memory (export "{{memory}}") {{index}} 2 160)
  (table (export "{{table}}") 8 funcref)
  (elem (i32.const 1) $jump $store $fail $exits)

  (global $sp (mut {{w}}) ({{w}}.const 65536))
  ;; Ends of the stack of numbers and of the output, and where the program is read.
  (global $top (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $at (mut i32) (i32.const 0))
  (data ({{w}}.const 8192) "{\"ok\":true,\"response\":{\"Messages\":[],\"Spawns\":[],\"Assignments\":[],\"Output\":\"")

  (func $load (param i32) (result i32) (i32.load {{local 0}}))
  (func $load8 (param i32) (result i32) (i32.load8_u {{local 0}}))
  (func $put (param i32 i32) (i32.store {{local 0}} (local.get 1)))
  (func $put8 (param i32 i32) (i32.store8 {{local 0}} (local.get 1)))
  (func $point (param i32 i32) ({{w}}.store {{local 0}} {{local 1}}))

  (func $push (param i32)
    (call $put (global.get $top) (local.get 0))
    (global.set $top (i32.add (global.get $top) (i32.const 4))))
  (func $pop (result i32)
    (global.set $top (i32.sub (global.get $top) (i32.const 4)))
    (call $load (global.get $top)))
  (func $push64 (param i64)
    (call $push (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))))
    (call $push (i32.wrap_i64 (local.get 0))))
  (func $push_float (param f64)
    (call $push (f64.ne (local.get 0) (local.get 0)))
    (if (f64.ne (local.get 0) (local.get 0)) (then (call $push (i32.const 0))) (else (call $push (i32.trunc_f64_s (local.get 0))))))

  ;; What the table holds: three of the type of invoke_vii.
  (func $jump {{invoked}} {{throw}})
  (func $store {{invoked}} (call $put {{argument 0}} {{argument 1}}))
  (func $fail {{invoked}} (unreachable))
  (func $exits {{invoked}} {{exit}})
  {{dyncall}}

  (func $emit (param i32)
    (call $put8 (global.get $out) (local.get 0))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $emit_number (param i32) (local i32 i32)
    (local.set 1 (i32.const 28))
    (loop $next
      (local.set 2 (i32.and (i32.shr_u (local.get 0) (local.get 1)) (i32.const 15)))
      (call $emit (i32.add (local.get 2) (select (i32.const 87) (i32.const 48) (i32.gt_u (local.get 2) (i32.const 9)))))
      (local.set 1 (i32.sub (local.get 1) (i32.const 4)))
      (br_if $next (i32.ge_s (local.get 1) (i32.const 0))))
    (call $emit (i32.const 32)))
  (func $emit_text (param i32) (local i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.tee 1 (call $load8 (local.get 0)))))
        (call $emit (local.get 1))
        (local.set 0 (i32.add (local.get 0) (i32.const 1)))
        (br $next))))

  (func $dump (param i32 i32)
    (loop $next
      (call $emit_number (call $load (local.get 0)))
      (local.set 0 (i32.add (local.get 0) (i32.const 4)))
      (br_if $next (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))))

  (func $host
    (local $which i32) (local $a i32) (local $b i32) (local $c i32) (local $d i32)
    (local $e i32) (local $f i32) (local $g i32) (local $h i32)
    (local.set $which (call $pop))
    {{calls}}
    (unreachable))

  (func $quoted (local i32 i32)
    (local.set 0 (call $pop))
    (block $end
      (loop $next
        (local.set 1 (call $load8 (global.get $at)))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br_if $end (i32.eq (local.get 1) (i32.const 39)))
        (call $put8 (local.get 0) (local.get 1))
        (local.set 0 (i32.add (local.get 0) (i32.const 1)))
        (br $next)))
    (call $put8 (local.get 0) (i32.const 0)))
  (func $digit (param i32) (result i32)
    (if (i32.lt_u (i32.sub (local.get 0) (i32.const 48)) (i32.const 10))
      (then (return (i32.sub (local.get 0) (i32.const 48)))))
    (if (i32.lt_u (i32.sub (local.get 0) (i32.const 97)) (i32.const 6))
      (then (return (i32.sub (local.get 0) (i32.const 87)))))
    (i32.const -1))
  (func $number (local i32 i32)
    (block $end
      (loop $next
        (local.set 1 (call $digit (call $load8 (global.get $at))))
        (br_if $end (i32.lt_s (local.get 1) (i32.const 0)))
        (local.set 0 (i32.or (i32.shl (local.get 0) (i32.const 4)) (local.get 1)))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br $next)))
    (call $push (local.get 0)))

  (func $operate (param $op i32) (local i32)
    (if (i32.eq (local.get $op) (i32.const 39)) (then (call $quoted) (return)))
    (if (i32.eq (local.get $op) (i32.const 87))
      (then (local.set 1 (call $pop)) (call $put (call $pop) (local.get 1)) (return)))
    (if (i32.eq (local.get $op) (i32.const 66))
      (then (local.set 1 (call $pop)) (call $put8 (call $pop) (local.get 1)) (return)))
    (if (i32.eq (local.get $op) (i32.const 80))
      (then (local.set 1 (call $pop)) (call $point (call $pop) (local.get 1)) (return)))
    (if (i32.eq (local.get $op) (i32.const 76)) (then (call $push (i32.const {{word}})) (return)))
    (if (i32.eq (local.get $op) (i32.const 43)) (then (call $push (i32.add (call $pop) (call $pop))) (return)))
    (if (i32.eq (local.get $op) (i32.const 68))
      (then (local.set 1 (call $pop)) (call $dump (call $pop) (local.get 1)) (return)))
    (if (i32.eq (local.get $op) (i32.const 82)) (then (call $push (call $load (call $pop))) (return)))
    (if (i32.eq (local.get $op) (i32.const 79)) (then (call $emit_number (call $pop)) (return)))
    (if (i32.eq (local.get $op) (i32.const 83)) (then (call $emit_text (call $pop)) (return)))
    (if (i32.eq (local.get $op) (i32.const 67)) (then (call $host) (return)))
    (if (i32.eq (local.get $op) (i32.const 77)) (then (call $push {{pages}}) (return)))
    (unreachable))

  ;; Moves to what stands behind the first "Data":".
  (func $find
    (loop $next
      (global.set $at (i32.add (global.get $at) (i32.const 1)))
      (br_if $next (i32.ne (call $load (global.get $at)) (i32.const 0x61746144)))
      (br_if $next (i32.ne (call $load (i32.add (global.get $at) (i32.const 3))) (i32.const 0x223a2261))))
    (global.set $at (i32.add (global.get $at) (i32.const 7))))

  (func (export "{{handle}}") (param {{w}} {{w}}) (result {{w}}) (local i32)
    (global.set $top (i32.const 4096))
    (global.set $out (i32.const {{output}}))
    (global.set $at {{message}})
    (call $find)
    (block $end
      (loop $next
        (local.set 2 (call $load8 (global.get $at)))
        (br_if $end (i32.eq (local.get 2) (i32.const 34)))
        (if (i32.ge_s (call $digit (local.get 2)) (i32.const 0))
          (then (call $number))
          (else
            (global.set $at (i32.add (global.get $at) (i32.const 1)))
            (if (i32.ne (local.get 2) (i32.const 32)) (then (call $operate (local.get 2))))))
        (br $next)))
    (call $emit (i32.const 34))
    (call $emit (i32.const 125))
    (call $emit (i32.const 125))
    (call $emit (i32.const 0))
    ({{w}}.const 8192))

  (func (export "{{constructors}}") (call $put (i32.const 2040) (i32.const 1)))
  (func (export "{{main}}") (param i32 i32) (result i32)
    ;; That it ran, and after the constructors.
    (call $put (i32.const 2040) (i32.shl (call $load (i32.const 2040)) (i32.const 4)))
    (i32.const 0))
  ;; Gives away the memory behind the stack; what was given last stands in memory.
  (func (export "{{malloc}}") (param {{w}}) (result {{w}}) (local i32)
    (local.set 1 (i32.add (i32.const 98304) (call $load (i32.const 2036))))
    (call $put (i32.const 2036) (i32.and (i32.add (call $load (i32.const 2036)) (i32.add {{size}} (i32.const 15))) (i32.const -16)))
    {{given}})
  (func (export "{{errno}}") (result {{w}}) ({{w}}.const 2032))
  (func (export "{{threw}}") (param {{w}} i32)
    (call $put (i32.const 2024) {{argument 0}})
    (call $put (i32.const 2028) (local.get 1)))
  {{rest}}
  (func (export "{{save}}") (result {{w}}) (global.get $sp))
  (func (export "{{restore}}") (param {{w}}) (global.set $sp (local.get 0)))
  (func (export "{{alloc}}") (param {{w}}) (result {{w}})
    (global.set $sp ({{w}}.and ({{w}}.sub (global.get $sp) (local.get 0)) ({{w}}.const -16)))
    (global.get $sp)))
