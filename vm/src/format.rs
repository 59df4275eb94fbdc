//! Module formats: what a module may import and how a message is handed to it.

use crate::error::UnsupportedFormat;
use crate::host::asyncify;

pub(crate) mod emscripten;
pub(crate) mod plain;

/// A `Module-Format` that this build evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// aos of today: emscripten with 64-bit memory.
    Emscripten64,
    /// aos of today: emscripten with 32-bit memory.
    Emscripten32,
    /// As [`Format::Emscripten64`], and the reference counts its gas.
    Metered64,
    /// As [`Format::Emscripten32`], and the reference counts its gas.
    Metered32,
    /// The first modules: imports and exports of one letter.
    Emscripten1,
    /// aos 1.
    Emscripten2,
    /// Between aos 1 and aos 2.
    Emscripten3,
    /// Our own: one memory, two exports, deterministic host functions. See `format/plain.rs`.
    Plain,
}

impl Format {
    const ALL: [Self; 8] = [
        Self::Emscripten64,
        Self::Emscripten32,
        Self::Metered64,
        Self::Metered32,
        Self::Emscripten1,
        Self::Emscripten2,
        Self::Emscripten3,
        Self::Plain,
    ];

    /// The names of all formats, in the order of preference.
    pub const NAMES: [&'static str; 8] = {
        let mut names = [""; 8];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// Reads the value of a `Module-Format` tag. The name must match exactly.
    pub fn parse(name: &str) -> Result<Self, UnsupportedFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnsupportedFormat { name: name.chars().take(128).collect() })
    }

    /// The value of a `Module-Format` tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emscripten64 => "wasm64-unknown-emscripten-draft_2024_02_15",
            Self::Emscripten32 => "wasm32-unknown-emscripten4",
            Self::Metered64 => "wasm64-unknown-emscripten-draft_2024_10_16-metering",
            Self::Metered32 => "wasm32-unknown-emscripten-metering",
            Self::Emscripten1 => "wasm32-unknown-emscripten",
            Self::Emscripten2 => "wasm32-unknown-emscripten2",
            Self::Emscripten3 => "wasm32-unknown-emscripten3",
            Self::Plain => "wasm32-weft-plain",
        }
    }

    /// Whether addresses are 64 bits wide.
    pub(crate) const fn is_64(self) -> bool {
        matches!(self, Self::Emscripten64 | Self::Metered64)
    }

    /// Whether the reference counts this format's gas while it runs, for `GasUsed`.
    pub const fn is_metered(self) -> bool {
        matches!(self, Self::Metered64 | Self::Metered32)
    }

    /// Whether the host unwinds the guest while it waits for data, as the reference's loader does in these formats.
    pub(crate) const fn unwinds(self) -> bool {
        self.is_metered()
    }

    /// Exports that the host never calls, whatever they do.
    pub(crate) const fn uncalled_exports(self) -> &'static [&'static str] {
        if self.unwinds() { &[] } else { &asyncify::EXPORTS }
    }

    /// The name under which modules export their memory.
    pub(crate) const fn memory_export(self) -> &'static str {
        emscripten::names(self).memory
    }

    /// The import that copies memory like `memory.copy`, which the pass puts in its place.
    pub(crate) const fn copy_import(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Emscripten64 | Self::Emscripten32 | Self::Metered64 | Self::Metered32 => {
                Some(("env", "_emscripten_memcpy_js"))
            }
            Self::Emscripten1 => Some(("a", "k")),
            Self::Emscripten2 => Some(("env", "emscripten_memcpy_big")),
            Self::Emscripten3 => Some(("env", "emscripten_memcpy_js")),
            Self::Plain => None,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = UnsupportedFormat;

    fn from_str(name: &str) -> Result<Self, UnsupportedFormat> {
        Self::parse(name)
    }
}
