/*
 * Compiles a profile by libseccomp and writes the filter to standard output.
 * Standard input has one item a line:
 *
 *	default VERDICT
 *	arch NAME
 *	rule VERDICT CALL [INDEX OPERATOR A B]...
 *
 * VERDICT is a SECCOMP_RET_*; OPERATOR is the number of enum scmp_compare.
 * Calls that libseccomp does not know are left out and named on standard
 * error.
 */
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	exit(1);
}

int main(void)
{
	scmp_filter_ctx ctx = NULL;
	char line[4096];

	while (fgets(line, sizeof line, stdin)) {
		char *word = strtok(line, " \n");
		int rc = 0;

		if (!word)
			continue;
		if (!strcmp(word, "default")) {
			ctx = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
			if (!ctx)
				fail("default", -EINVAL);
		} else if (!strcmp(word, "arch")) {
			rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(strtok(NULL, " \n")));
			if (rc && rc != -EEXIST)
				fail("arch", rc);
		} else if (!strcmp(word, "rule")) {
			uint32_t action = strtoul(strtok(NULL, " \n"), NULL, 0);
			char *name = strtok(NULL, " \n"), *index;
			struct scmp_arg_cmp args[6];
			unsigned n = 0;
			int nr = seccomp_syscall_resolve_name(name);

			if (nr == __NR_SCMP_ERROR) {
				fprintf(stderr, "%s\n", name);
				continue;
			}
			while (n < 6 && (index = strtok(NULL, " \n"))) {
				args[n].arg = atoi(index);
				args[n].op = atoi(strtok(NULL, " \n"));
				args[n].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
				args[n].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
				n++;
			}
			rc = seccomp_rule_add_array(ctx, action, nr, n, args);
			if (rc)
				fail(name, rc);
		}
	}
	if (!ctx)
		return 1;
	int rc = seccomp_export_bpf(ctx, 1);
	if (rc)
		fail("export", rc);
	return 0;
}
