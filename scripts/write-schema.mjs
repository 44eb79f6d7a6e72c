// Writes schema/recipe.schema.json from the zod schema: `npm run schema` after a change of lib/pipeline/recipe.ts.
import { writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import { recipeJsonSchema } from '../dist/pipeline/recipe.js';

const path = new URL('../schema/recipe.schema.json', import.meta.url);
await writeFile(path, await format(JSON.stringify(recipeJsonSchema()), { parser: 'json', printWidth: 140 }));
