// Modules with vectors: real SQL through sqlite, and tokens of a generated model through llama.cpp,
// message for message as the reference loader answers.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compare, file, written } from './lib/compare.mjs'
import { model } from './lib/gguf.mjs'
import { llama, sqlite } from './lib/modules.mjs'
import { env } from './sequence/actors.mjs'
import { modelId, sql, text, textId, tokens } from './sequence/simd.mjs'

const seed = 4904
const suite = 'simd'
const parsed = (line) => JSON.parse(line)

const traps = {
  why: 'The text of a trap is each host\'s own and reaches no result: a node writes one constant per kind.',
  check(reference, weft) {
    assert.deepEqual(Object.keys(parsed(reference)), ['trap'])
    assert.deepEqual(Object.keys(parsed(weft)), ['trap'])
  },
}

const secondOpen = {
  why: `The drive of the reference begins at the start only when an instance first opens an item;
    opened again after its size was asked for, it gives nothing and Lua shows what was in the buffer.
    Weft begins at the start each time.`,
  check(reference, weft, { weftAt }) {
    assert.equal(weft, weftAt('a text item'))
    assert.notEqual(reference, weft, 'the reference reads it again: drop this')
  },
}

const sqlDifferences = new Map([
  [
    'a file',
    {
      why: `Files outlive no message here: they would be state that no checkpoint holds. The tree is
        empty and cannot be written, so a database lives in memory, which is the state.`,
      check(reference, weft) {
        assert.ok(reference.includes('not an error'), reference)
        assert.equal(parsed(weft).response.Output.data.output, 'not opened')
      },
    },
  ],
])

const sqlLandmarks = new Map([
  ['select', 'alice,1000,first,5,text'],
  ['transaction kept', 'alice,970;bob,80;carol,0 1,alice,bob,30'],
  ['transaction rolled back', '0 3,1050'],
  ['error: syntax', 'syntax error'],
  ['error: unique', 'UNIQUE constraint failed'],
  ['many rows', '3000,9004500500'],
  ['blob of a megabyte', '1048576'],
])

test('sqlite answers SQL', (t) =>
  compare(t, written({ ...sqlite, cases: sql }, env), { suite, differences: sqlDifferences, landmarks: sqlLandmarks }))

test('the model is the same for the same seed', () => {
  assert.ok(model(seed).equals(model(seed)))
  assert.ok(!model(seed).equals(model(seed + 1)))
})

test('llama loads a model through the drive and says the same tokens', async (t) => {
  const data = [`${modelId}=${file('model.gguf', model(seed))}`, `${textId}=${file('text', text)}`]
  const run = written({ ...llama, cases: tokens, data }, env)
  const landmarks = new Map([
    ['load', '"data":"0"'],
    ['a text item', 'The second'],
    ['an item that is not offered', 'nil'],
    ['after the failure', '"data":"2"'],
  ])
  const differences = new Map([['a model that is not there', traps], ['a text item again', secondOpen]])
  await compare(t, run, { suite, differences, landmarks })
})
