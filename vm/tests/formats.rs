//! Every format of the reference, through the probes of `probe/`: they are what their source gives,
//! answer as they did when the interop suite compared them with the reference, and count as it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Module, Outcome, Trap};

mod probe;

const LIMITS: Limits = Limits { gas: 50_000_000_000, memory_bytes: 1 << 27 };

fn module(format: Format) -> (&'static str, Module) {
    let (name, wasm) = probe::of(format).unwrap();
    (name, Engine::new(EngineConfig::default()).unwrap().compile(wasm, format).unwrap())
}

fn reference_formats() -> impl Iterator<Item = Format> {
    Format::NAMES
        .into_iter()
        .map(|name| Format::parse(name).unwrap())
        .filter(|format| *format != Format::Plain)
}

fn run(instance: &mut Instance, name: &str, program: &str) -> (Result<String, Trap>, u64) {
    let evaluation = instance.evaluate(probe::message(name, program).as_bytes(), b"{}").unwrap();
    let answer = match evaluation.outcome {
        Outcome::Returned(text) => {
            instance.keep().unwrap();
            let text = String::from_utf8(text).unwrap();
            let (_, output) = text.split_once("\"Output\":\"").unwrap();
            Ok(output.strip_suffix("\"}}").unwrap().to_owned())
        }
        Outcome::Trapped(trap) => {
            instance.roll_back().unwrap();
            Err(trap)
        }
    };
    (answer, evaluation.gas_used)
}

/// `WEFT_WRITE_GUESTS=1` writes the files again after a change of their source.
#[test]
fn the_probes_are_what_their_source_gives() {
    for (name, bytes) in probe::PROBES {
        let source = probe::source(name);
        let built = wat::parse_str(&source).unwrap_or_else(|error| panic!("{name}: {error}\n{source}"));
        if std::env::var_os("WEFT_WRITE_GUESTS").is_some() {
            let path = format!("{}/tests/probe/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, &built).unwrap();
        } else {
            assert!(built == bytes, "probe/{name}.wasm is not what its source gives");
        }
    }
}

#[test]
fn loading_runs_what_the_format_s_loader_runs() {
    for format in reference_formats() {
        let (name, module) = module(format);
        let mut instance = module.instantiate(LIMITS).unwrap();
        // Constructors leave 1, main makes 16 of it; and how often output was flushed.
        let expected = match format {
            Format::Emscripten1 => "00000010 00000000 ",
            Format::Emscripten2 | Format::Emscripten3 => "00000010 00000001 ",
            _ => "00000001 00000000 ",
        };
        assert_eq!(run(&mut instance, name, "7f8 R O 7fc R O ").0.unwrap(), expected, "{format}");
    }
}

#[test]
fn a_caught_jump_goes_on_and_nothing_else_is_caught() {
    for format in reference_formats() {
        let (name, module) = module(format);
        let mut instance = module.instantiate(LIMITS).unwrap();
        let (jumped, _) =
            run(&mut instance, name, "1 0 0 invoke() 7e8 R O 7ec R O 2 900 5678 invoke() 900 R O ");
        assert_eq!(jumped.unwrap(), "00000001 00000000 00005678 ", "{format}");
        for program in
            ["3 0 0 invoke() ", "4 0 0 invoke() ", "6 0 0 invoke() ", "throw() ", "7 exit() ", "U "]
        {
            assert_eq!(run(&mut instance, name, program).0, Err(Trap::Trap), "{format}: {program}");
        }
    }
}

#[test]
fn a_module_that_counts_its_own_gas_is_held_to_its_limit() {
    for format in [Format::Emscripten1, Format::Emscripten2, Format::Emscripten3] {
        let (name, module) = module(format);
        let mut instance = module.instantiate(LIMITS).unwrap();
        instance.limit_own_gas(1_000);
        assert_eq!(run(&mut instance, name, "3e8 usegas() ").1, 1_000, "{format}");
        assert!(run(&mut instance, name, "1 usegas() ").0.is_ok(), "each message begins anew");
        assert_eq!(run(&mut instance, name, "3e8 usegas() 1 usegas() ").0, Err(Trap::OutOfGas), "{format}");
        assert_eq!(run(&mut instance, name, "10 usegas() fffffff8 usegas() ").1, 8, "{format}");
        assert_eq!(run(&mut instance, name, "900 R O ").1, 0, "{format}");
    }
}

#[test]
fn the_count_is_the_reference_s_and_not_the_guard_s() {
    for (metered, plain) in
        [(Format::Metered32, Format::Emscripten32), (Format::Metered64, Format::Emscripten64)]
    {
        let (name, counted) = module(metered);
        let mut instance = counted.instantiate(LIMITS).unwrap();
        let (first, used) = run(&mut instance, name, "gas_used() O ");
        let seen = u64::from_str_radix(first.unwrap().trim(), 16).unwrap();
        assert!(0 < seen && seen < used, "{seen} of {used}");
        // Memory is the guard's to charge for, and the clock a host call: the reference sees neither.
        let evaluation = |program: &str, instance: &mut Instance| {
            let evaluation = instance.evaluate(probe::message(name, program).as_bytes(), b"{}").unwrap();
            instance.roll_back().unwrap();
            evaluation
        };
        let grown = evaluation("80000 resize_heap() O ", &mut instance);
        let stayed = evaluation("800 R O ", &mut instance);
        assert!(grown.gas > stayed.gas + 10_000_000, "{} and {}", grown.gas, stayed.gas);
        assert!(grown.gas_used.abs_diff(stayed.gas_used) < 1_000_000);

        let (_, uncounted) = module(plain);
        let mut instance = uncounted.instantiate(LIMITS).unwrap();
        assert_eq!(run(&mut instance, name, "gas_used() O "), (Ok("00000000 ".to_owned()), 0));
    }
}

/// The reference refuses to meter what is metered already.
#[test]
fn a_metered_format_refuses_modules_that_count_themselves() {
    let counts = "(import \"metering\" \"usegas\" (func $usegas (param i32))) (import";
    let wasm = wat::parse_str(probe::source("emscripten4").replacen("(import", counts, 1)).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let refused = engine.compile(&wasm, Format::Metered32).unwrap_err().to_string();
    assert!(refused.contains("imports metering.usegas, which the format"), "{refused}");
}

#[test]
fn loading_ends_and_may_leave_the_program() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let compile = |from: &str, to: &str| {
        let source = probe::source("emscripten2");
        assert!(source.contains(from), "{from}");
        engine.compile(&wat::parse_str(source.replace(from, to)).unwrap(), Format::Emscripten2)
    };
    let constructors = "(call $put (i32.const 2040) (i32.const 1))";
    let main = "(call $put (i32.const 2040) (i32.shl";
    for part in [constructors, main] {
        let said = compile(part, &format!("(loop $l (br $l)) {part}")).unwrap_err().to_string();
        assert_eq!(said, "the module's initialisation failed: out of gas");
        let said = compile(part, &format!("(unreachable) {part}")).unwrap_err().to_string();
        assert_eq!(said, "the module's initialisation failed: trap");
    }
    assert!(compile(main, &format!("(call $exit (i32.const 3)) {main}")).is_ok());
    let said = compile(constructors, &format!("(call $exit (i32.const 3)) {constructors}")).unwrap_err();
    assert_eq!(said.to_string(), "the module's initialisation failed: trap");
}

/// Exports of other types than the format has are the module's fault, never the host's.
#[test]
fn exports_of_another_type_are_the_guest_s_failure() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let source = probe::source("emscripten2");
    let changed = |from: &str, to: &str| {
        assert!(source.contains(from), "{from}");
        engine.compile(&wat::parse_str(source.replace(from, to)).unwrap(), Format::Emscripten2)
    };
    for (from, to) in [
        ("\"__wasm_call_ctors\")", "\"__wasm_call_ctors\") (param f32)"),
        ("\"emscripten_stack_init\")", "\"emscripten_stack_init\") (param i32)"),
        (
            "(func (export \"fflush\") (param i32) (result i32)",
            "(func (export \"fflush\") (param i32 i32) (result i32)",
        ),
    ] {
        let said = changed(from, to).unwrap_err().to_string();
        assert!(said.starts_with("the module lacks the export "), "{to}: {said}");
    }
    // What a jump or a date needs.
    let threw = "(func (export \"setThrew\") (param i32 i32)";
    let calls = [
        (threw, "(func (export \"setThrew\") (param i32 i32 i32)", "1 0 0 invoke() "),
        ("(func $store (param i32 i32)", "(func $store (param i32 i32) (param f64)", "2 0 0 invoke() "),
        (
            "(func (export \"malloc\") (param i32)",
            "(func (export \"malloc\") (param i32 i32)",
            "800 804 900 tzset() ",
        ),
        (
            "(func (export \"__errno_location\")",
            "(func (export \"__errno_location\") (param v128)",
            "900 900 system() ",
        ),
    ];
    for (from, to, program) in calls {
        let mut instance = changed(from, to).unwrap().instantiate(LIMITS).unwrap();
        assert_eq!(run(&mut instance, "emscripten2", program).0, Err(Trap::Trap), "{to}");
    }
}
