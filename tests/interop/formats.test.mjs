// Every format of the reference: what its loader answers to the programs of vm/tests/probe, and the
// GasUsed that it reports, message for message.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { compare, written } from './lib/compare.mjs'
import { modules } from './lib/modules.mjs'
import { env } from './sequence/actors.mjs'
import { sequence } from './sequence/cases.mjs'
import { differences } from './sequence/differences.mjs'
import { landmarks } from './sequence/expected.mjs'

const suite = 'formats'
const folder = new URL('../../vm/tests/probe/', import.meta.url)
const read = (name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'))
const imports = read('imports.json')
const tour = read('tour.json')
const wasm32Metered = 'wasm32-unknown-emscripten-metering'
const wasm64Metered = 'wasm64-unknown-emscripten-draft_2024_10_16-metering'

const formats = [
  ['emscripten1', 'wasm32-unknown-emscripten'],
  ['emscripten2', 'wasm32-unknown-emscripten2'],
  ['emscripten3', 'wasm32-unknown-emscripten3'],
  ['emscripten4', 'wasm32-unknown-emscripten4'],
  ['emscripten4', wasm32Metered],
  ['emscripten64', 'wasm64-unknown-emscripten-draft_2024_02_15'],
  ['emscripten64', wasm64Metered],
]

/** The cases of a probe; `NAME()` in a program stands for a call of a host function. */
function cases(probe) {
  const names = Object.keys(imports[probe])
  const call = (_, name) => `${names.indexOf(name).toString(16)} C`
  return tour
    .filter(({ probes, program }) => (probes ?? [probe]).includes(probe) &&
      [...program.matchAll(/(\w+)\(\)/g)].every(([, name]) => names.includes(name)))
    .map(({ name, program }) => {
      const Data = program.replace(/(\w+)\(\)/g, call)
      return { name, json: JSON.stringify({ Id: 'm', Data, Tags: [] }) }
    })
}

const traps = {
  why: `The text of a trap is each host's own and reaches no result: a node writes one constant per
    kind.`,
  check(reference, weft) {
    for (const line of [reference, weft]) assert.deepEqual(Object.keys(JSON.parse(line)), ['trap'])
  },
}
const clocks = {
  why: `Where the loader's clock begins depends on what it did while loading; Weft's begins anew for
    every message. How it goes on is the same.`,
  check(reference, weft) {
    const readings = (line) => JSON.parse(line).response.Output.trim().split(' ').map((word) => parseInt(word, 16))
    const [theirs, ours] = [readings(reference), readings(weft)]
    // Readings are the numbers from 10,000 on: the first of them is counted from.
    const from = (list) => list.map((value) => (value < 10_000 ? value : value - list.find((other) => other >= 10_000)))
    assert.deepEqual(from(ours), from(theirs))
    assert.ok(ours.some((value) => value >= 10_000))
  },
}
const zoneAgain = {
  why: `The loader remembers beside the guest's memory that it wrote the names of the zone, and a new
    instance writes them again. Weft sees in the memory that they are there.`,
  check(reference, weft) {
    const [theirs, ours] = [reference, weft].map((line) => JSON.parse(line).response.Output)
    assert.equal(ours.replace('00000040 ', '00000080 '), theirs)
  },
}
const trapping = ['a jump that nobody catches', 'invoke and trap', 'invoke of nothing', 'invoke and leave']
trapping.push('leave', 'give up', 'a trap', 'no more than there is', 'write to nothing of the first')
const first = 'wasm32-unknown-emscripten'
const withClock = formats.map(([, format]) => format).filter((format) => ![first, `${first}2`].includes(format))
const probeDifferences = new Map([
  ...trapping.map((name) => [name, traps]),
  ['a terminal request nobody knows', { ...traps, formats: [`${first}2`] }],
  ['clocks', { ...clocks, formats: withClock }],
  ['clocks and writing', { ...clocks, formats: withClock }],
  ['zone again', zoneAgain],
])

for (const [probe, format] of formats) {
  test(`the probe of ${format}`, (t) => {
    const file = fileURLToPath(new URL(`${probe}.wasm`, folder))
    // A fresh instance for each message: nothing outside of memory outlives one here either.
    const run = { name: `probe ${format}`, file, format, cases: cases(probe), fresh: true, counts: true }
    return compare(t, written(run, {}), { suite, differences: probeDifferences, landmarks: new Map() })
  })
}

// aos as the loader itself meters it. A message that is answered otherwise leaves other things in
// memory, and Lua's collector then comes at other times, so those cases are left out: the listed
// differences, and those that go so deep that V8's own stack ends before Lua's limit does, for metered
// code takes more of it. The short form has no cases that take the reference minutes.
const shortCases = 80
const deep = /^eval: (xpcall handler fails|.*recursion.*)$/
const whole = process.env.WEFT_FULL === '1'
const alike = sequence().filter(({ name }) => !differences.has(name) && !deep.test(name))
const some = alike.slice(0, whole ? undefined : shortCases)
const present = new Set(some.map(({ name }) => name))
const metered = { aos2_0_6: wasm64Metered, aos2_0_4_32: wasm32Metered }
for (const module of modules.filter(({ name }) => name in metered)) {
  const format = metered[module.name]
  test(`${module.name} (${format})`, (t) => {
    const name = `${module.name} metered${whole ? '' : ', short'}`
    return compare(t, written({ ...module, name, format, cases: some, counts: true }, env), {
      suite,
      differences,
      landmarks: new Map([...landmarks].filter(([name]) => present.has(name))),
    })
  })
}
