import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Folders of lib/, lowest first. A folder may import from its own tier and those before it, and types from anywhere. */
const TIERS = [['graph'], ['data'], ['compress', 'evaluate', 'formats', 'report', 'tfjs', 'train'], ['pipeline'], ['cli']];
/** Only these reach the native core; pipeline and cli to say which one was used. */
const NATIVE_USERS = ['compress', 'train', 'evaluate', 'pipeline', 'cli'];

const layering = TIERS.flatMap((folders, tier) => {
  const upper = TIERS.slice(tier + 1).flat();
  return folders.map((folder) => ({
    files: [`lib/${folder}/**/*.ts`],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            ...upper.map((name) => ({
              group: [`**/${name}/**`],
              message: 'Imports go one way (docs/architecture.md).',
              allowTypeImports: true,
            })),
            ...(NATIVE_USERS.includes(folder)
              ? []
              : [{ group: ['**/native.js'], message: 'Only compress, train and evaluate reach the native core.' }]),
          ],
        },
      ],
    },
  }));
});

export default tseslint.config(
  { ignores: ['**/node_modules/', 'build*/', 'dist/', 'test/golden/'] },
  eslint.configs.recommended,
  ...tseslint.configs.recommended,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'max-lines': ['error', 300],
    },
  },
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: ['describe', 'it'] }],
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    // chai's assertions are expressions; indexing is unchecked in the tests' tsconfig, so assertions may be needless there.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unused-expressions': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
      'max-lines': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false }, globals: { console: 'readonly', process: 'readonly', URL: 'readonly' } },
  },
  {
    // The whole contract between TypeScript and the native core, in one place.
    files: ['binding.d.ts'],
    rules: { 'max-lines': 'off' },
  },
  ...layering,
);
