// Real aos modules answer a recorded sequence under Weft as they do under the reference loader,
// byte for byte, but for the listed differences. The memory they end with is committed: a change of
// a dependency that changes a result is a change of the rules, and `WEFT_BLESS=1 npm test` records it.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { compare } from './lib/compare.mjs'
import { modules } from './lib/modules.mjs'
import { env } from './sequence/actors.mjs'
import { sequence } from './sequence/cases.mjs'
import { differences } from './sequence/differences.mjs'
import { landmarks } from './sequence/expected.mjs'

const messagesMin = 100
const cases = sequence()
const file = (name) => fileURLToPath(new URL(`sequence/${name}`, import.meta.url))
const envFile = file('env.json')
const messagesFile = file('messages.jsonl')

test('the recorded files are what the cases make', () => {
  const recorded = readFileSync(messagesFile, 'utf8')
  assert.ok(recorded === cases.map(({ json }) => json + '\n').join(''), 'run `npm run record` and commit')
  assert.equal(readFileSync(envFile, 'utf8'), JSON.stringify(env))
})

test('the sequence is long, its names are unique, and the lists name cases', () => {
  const names = new Set(cases.map(({ name }) => name))
  assert.ok(cases.length >= messagesMin, `${cases.length} messages`)
  assert.equal(names.size, cases.length)
  for (const name of [...differences.keys(), ...landmarks.keys()]) assert.ok(names.has(name), name)
})

test('the keys of every message stand in the order of the protocol', () => {
  const order = ['Id', 'Signature', 'Data', 'Owner', 'Target', 'Anchor', 'From', 'Forwarded-By', 'Tags']
  order.push('Epoch', 'Nonce', 'Timestamp', 'Block-Height', 'Hash-Chain', 'Cron', 'Read-Only')
  for (const { name, json } of cases) {
    const keys = Object.keys(JSON.parse(json))
    assert.deepEqual(keys, order.filter((key) => keys.includes(key)), name)
  }
})

for (const module of modules) {
  test(`${module.name} (${module.format})`, (t) =>
    compare(t, { ...module, cases, envFile, messagesFile }, { suite: 'loader', differences, landmarks }))
}
