import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { describe, it } from 'mocha';
import { recipeJsonSchema } from '#lib/pipeline/recipe.js';

describe('schema/recipe.schema.json', () => {
  it('is what `npm run schema` writes', async () => {
    const published: unknown = JSON.parse(await readFile('schema/recipe.schema.json', 'utf8'));
    expect(published).to.deep.equal(JSON.parse(JSON.stringify(recipeJsonSchema())));
  });
});
