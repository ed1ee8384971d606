// SPDX-License-Identifier: GPL-2.0
/* What the host wants: strings KEY=VALUE, each ended by a zero byte. */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static void add(struct list *list, char *value)
{
	if (list->count == MAX_LIST)
		fail("too many arguments or environment variables");
	list->item[list->count++] = value;
}

static void set(struct config *config, const char *key, char *value)
{
	if (!strcmp(key, "arg"))
		add(&config->argv, value);
	else if (!strcmp(key, "env"))
		add(&config->env, value);
	else if (!strcmp(key, "overlay"))
		add(&config->overlay, value);
	else if (!strcmp(key, "out"))
		add(&config->out, value);
	else if (!strcmp(key, "cwd"))
		config->cwd = value;
	else if (!strcmp(key, "input"))
		config->input = value;
	else if (!strcmp(key, "module"))
		config->module = value;
	else if (!strcmp(key, "module_args"))
		config->module_args = value;
	else if (!strcmp(key, "modules"))
		config->modules = value;
	else if (!strcmp(key, "hostname"))
		config->hostname = value;
	else if (!strcmp(key, "host_root"))
		config->host_root = true;
	else if (!strcmp(key, "host_shm"))
		config->host_shm = true;
	else if (!strcmp(key, "tty"))
		config->tty = true;
	else if (!strcmp(key, "rows"))
		config->rows = atoi(value);
	else if (!strcmp(key, "columns"))
		config->columns = atoi(value);
	else if (!strcmp(key, "leak_check"))
		config->leak_check = true;
	else if (!strcmp(key, "sections"))
		config->sections = true;
	else
		fail("the host asks for '%s', which this init does not know", key);
}

/* The strings stay where they are: `text` must live on. */
void config_parse(struct config *config, char *text, size_t length)
{
	char *end = text + length;

	while (text < end) {
		char *next = memchr(text, 0, end - text);
		char *value = strchr(text, '=');

		if (!next || !value)
			fail("bad configuration from the host");
		*value++ = 0;
		set(config, text, value);
		text = next + 1;
	}
}
