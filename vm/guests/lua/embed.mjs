// Writes the prelude's files as C arrays: `embed.mjs FOLDER`.
import { readFileSync, readdirSync } from 'node:fs'

const folder = process.argv[2]
const names = readdirSync(folder).filter((name) => name.endsWith('.lua')).sort()
const entries = []
names.forEach((name, index) => {
  const bytes = readFileSync(`${folder}/${name}`)
  console.log(`static unsigned char chunk_${index}[] = {${[...bytes].join(',')}};`)
  entries.push(`{${JSON.stringify(name.replace(/\.lua$/, ''))}, chunk_${index}, ${bytes.length}}`)
})
console.log(`static Chunk chunks[] = {${entries.join(', ')}, {NULL, NULL, 0}};`)
