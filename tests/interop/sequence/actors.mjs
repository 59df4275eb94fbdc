// Who takes part in the sequence, and the shape of what they send.

import { createHash } from 'node:crypto'

/** A 43-character id that stands for `name`. */
export const id = (name) => createHash('sha256').update(`weft interop ${name}`).digest('base64url')

export const process = id('process')
export const module = id('module')
export const scheduler = id('scheduler')
export const owner = id('owner')
export const alice = id('alice')
export const bob = id('bob')
export const authority = id('authority')
export const friend = id('friendly process')

/** `{ Name: value }` as a list of tags, in its order; a list of pairs keeps repeated names. */
export const tags = (fields) =>
  (Array.isArray(fields) ? fields : Object.entries(fields)).map(([name, value]) => ({ name, value }))

export const processTags = tags([
  ['Data-Protocol', 'ao'],
  ['Variant', 'ao.TN.1'],
  ['Type', 'Process'],
  ['Module', module],
  ['Scheduler', scheduler],
  ['Name', 'interop'],
  ['Authority', authority],
  ['Authority', `${id('second authority')}, ${id('third authority')}`],
])

export const env = {
  Process: { Id: process, Owner: owner, Tags: processTags },
  Module: {
    Id: module,
    Owner: id('module owner'),
    Tags: tags({ 'Data-Protocol': 'ao', Variant: 'ao.TN.1', Type: 'Module', 'Input-Encoding': 'JSON-1', 'Output-Encoding': 'JSON-1' }),
  },
}

const messageTags = [
  ['Data-Protocol', 'ao'],
  ['Variant', 'ao.TN.1'],
  ['Type', 'Message'],
]

/** The message JSON of slot `slot`, with its keys in the order of the protocol. */
export function message(slot, { name, from = alice, owner: signer = from, target = process, data = '', anchor = null, tags: own = {}, ...more }) {
  const list = Array.isArray(own) ? own : Object.entries(own)
  return {
    Id: more.Id ?? id(`item ${slot} ${name}`),
    Signature: createHash('sha512').update(`signature ${slot}`).digest('base64url'),
    Data: data,
    Owner: signer,
    Target: target,
    Anchor: anchor,
    From: from,
    ...(more.forwardedBy ? { 'Forwarded-By': more.forwardedBy } : {}),
    Tags: more.rawTags ?? tags([...messageTags, ...list]),
    Epoch: 0,
    Nonce: slot,
    Timestamp: 1_790_000_000_000 + slot * 1_234,
    'Block-Height': 1_700_000 + Math.floor(slot / 4),
    'Hash-Chain': id(`chain ${slot}`),
    Cron: false,
    'Read-Only': more.readOnly ?? false,
  }
}

/** An implicit message: what a `Cron-Tag-Action` subscription gives, without id and nonce. */
export function tick(slot) {
  return {
    Owner: owner,
    Target: process,
    From: owner,
    Tags: tags({ Action: 'Tick', Kind: 'minute' }),
    Timestamp: 1_790_000_000_000 + slot * 1_234 + 500,
    'Block-Height': 1_700_000 + Math.floor(slot / 4),
    Cron: true,
  }
}
